import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { GenerateResult } from "../../../src/orchestrator/api/facade.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../../support/fake-orchestrator.ts";
import { beginSession, startListener, type TestListenerSetup, type TestListener } from "./listener-fixture.ts";

const answerBytes = 6_000_000;
const body = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: { name: "route_and_generate", arguments: { prompt: "Hi" } },
});

let listener: TestListener | undefined;
afterEach(() => listener?.close());

async function startWith(setup: TestListenerSetup): Promise<TestListener> {
  const operation = drivenOperation<GenerateResult>();
  operation.succeed({ ...generated, text: "x".repeat(answerBytes) });
  return (listener = await startListener({
    ...setup,
    orchestrator: createFakeOrchestrator({ generate: async () => operation }),
  }));
}

describe("the last answer of a connection", () => {
  it("does not hold it for ever when it is not read", { timeout: 15_000 }, async () => {
    const started = await startWith({ streamLimits: { maxUnreadBytes: 50_000_000, maxStallMs: 20 } });
    const session = await beginSession(started);
    const socket = connect(started.port, "127.0.0.1");
    socket.pause();
    socket.write(
      `POST /mcp HTTP/1.1\r\nHost: localhost:${started.port}\r\nAuthorization: Bearer ${started.token}\r\n` +
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n" +
        `Mcp-Session-Id: ${session}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await expect.poll(() => started.logged.join("\n"), { timeout: 10_000 }).toContain("unread for too long");
    socket.destroy();
  });

  it("is whole when it is read", async () => {
    const started = await startWith({});
    const session = await beginSession(started);
    const answer = await started.ask("/mcp", { raw: body, headers: { "mcp-session-id": session } });
    expect(answer.text.length).toBeGreaterThan(answerBytes);
    expect(started.logged.join("\n")).not.toContain("a stream was cut");
  });
});
