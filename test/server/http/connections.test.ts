import { describe, expect, it } from "vitest";
import type { GenerateResult } from "../../../src/orchestrator/api/facade.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../../support/fake-orchestrator.ts";
import { beginSession, idleConnection, openStream, sockets, startListeners } from "./listener-fixture.ts";

const start = startListeners();

const list = { jsonrpc: "2.0", id: 1, method: "tools/list" } as const;
const generate = {
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: { name: "route_and_generate", arguments: { prompt: "Hi" }, _meta: { progressToken: 1 } },
} as const;

describe("connections", () => {
  it("are bounded: two thousand silent ones neither exhaust the listener nor lock out a caller with the token", async () => {
    const listener = await start({ settings: { maxConnections: 64 } });
    // A hundred at a time: what the system's own queue drops would count as open here for ever.
    for (let batch = 0; batch < 20; batch += 1) {
      await Promise.all(Array.from({ length: 100 }, () => idleConnection(listener.port)));
    }
    const answer = await listener.ask("/health");
    expect(answer.status).toBe(200);
    await expect.poll(() => sockets.filter((socket) => !socket.destroyed).length).toBeLessThanOrEqual(64);
  });

  it("at work are not cut to make room; the newcomer gets a 503", async () => {
    const listener = await start({ settings: { maxConnections: 2 } });
    const session = await beginSession(listener);
    const streams = [
      await openStream(listener, { "mcp-session-id": session }),
      await openStream(listener, {}, undefined, "/sse"),
    ];
    const refused = await listener.ask("/health");
    expect(refused.status).toBe(503);
    expect(JSON.parse(refused.text)).toMatchObject({ jsonrpc: "2.0", error: { code: -32_000 } });
    expect(streams.map(({ response }) => response.destroyed)).toEqual([false, false]);
    for (const { response } of streams) response.destroy();
    await expect.poll(async () => (await listener.ask("/health")).status).toBe(200);
  });

  it("that never finish their head are closed", { timeout: 20_000 }, async () => {
    const listener = await start();
    const socket = await idleConnection(listener.port);
    socket.write(`GET /health HTTP/1.1\r\nHost: localhost:${listener.port}\r\nX-Slow: `);
    const drip = setInterval(() => socket.write("x"), 500);
    const said = await new Promise<string>((resolve) => {
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
      socket.once("close", () => resolve(text));
    });
    clearInterval(drip);
    expect(said).toContain(" 408 ");
  });

  it("with more than 200 headers are refused with 431, and with 200 they are not", async () => {
    const listener = await start();
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, "1"]));
    // Node's client adds Host and Connection, `ask` Authorization and Accept.
    expect((await listener.ask("/health", { headers: many(196) })).status).toBe(200);
    const refused = await listener.ask("/health", { headers: many(197) });
    expect([refused.status, refused.text]).toEqual([431, expect.stringContaining("201 headers")]);
    expect((await listener.ask("/health", { headers: many(2_500) })).status).toBe(431);
  });

  it("with a head of more than 16 KiB are refused", async () => {
    const listener = await start();
    const answer = await listener.ask("/health", { headers: { "x-long": "x".repeat(17 * 1024) } });
    expect(answer.status).toBe(431);
  });
});

describe("Connection: close", () => {
  it.each([
    ["an answer", "POST", list],
    ["a stream of events", "POST", generate],
    ["an error", "DELETE", undefined],
  ])("is obeyed after %s", async (what, method, body) => {
    const orchestrator = createFakeOrchestrator({
      async generate() {
        const operation = drivenOperation<GenerateResult>();
        operation.succeed(generated);
        return operation;
      },
    });
    const listener = await start({ orchestrator });
    const session = what === "an error" ? "unknown" : await beginSession(listener);
    const content = body === undefined ? "" : JSON.stringify(body);
    const socket = await idleConnection(listener.port);
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const ended = new Promise((resolve) => socket.once("end", resolve));
    socket.write(
      `${method} /mcp HTTP/1.1\r\nHost: localhost:${listener.port}\r\nAuthorization: Bearer ${listener.token}\r\n` +
        `Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nMcp-Session-Id: ${session}\r\n` +
        `Connection: close\r\nContent-Length: ${Buffer.byteLength(content)}\r\n\r\n${content}`,
    );
    await ended;
    expect(text).toMatch(/^connection: close\r$/im);
    expect(text).not.toMatch(/^connection: keep-alive/im);
  });
});
