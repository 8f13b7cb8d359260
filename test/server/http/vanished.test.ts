import { request } from "node:http";
import { describe, expect, it } from "vitest";
import type { PullResult } from "../../../src/orchestrator/api/facade.ts";
import { eventually } from "../../support/eventually.ts";
import { createFakeOrchestrator, drivenOperation } from "../../support/fake-orchestrator.ts";
import { startListener } from "./listener-fixture.ts";

const modern = {
  headers: { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "pull_model" },
  meta: {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "by-hand", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  },
};

describe("a modern HTTP client that vanishes in the middle of a pull", () => {
  it("leaves it to go on as a job", async () => {
    const operation = { ...drivenOperation<PullResult>("pull smollm2:135m"), kind: "pull" as const, id: "pull-1" };
    const orchestrator = createFakeOrchestrator({ pullModel: async () => operation });
    const listener = await startListener({ orchestrator });
    const asked = request({
      host: "127.0.0.1",
      port: listener.port,
      path: "/mcp",
      method: "POST",
      headers: {
        authorization: `Bearer ${listener.token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...modern.headers,
      },
    });
    asked.on("error", () => undefined);
    const params = { name: "pull_model", arguments: { model: "smollm2:135m" }, _meta: modern.meta };
    asked.end(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params }));
    await eventually(() => expect(operation.followers()).toBe(1));
    asked.destroy();
    await eventually(() => expect([operation.ends, orchestrator.jobs.list().length]).toEqual([[], 1]));
    await listener.close();
  });
});
