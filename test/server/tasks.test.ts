import { InMemoryTransport, type JSONRPCMessage } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { afterEach, describe, expect, it, vi } from "vitest";
import { LoadFailed } from "../../src/orchestrator/api/errors.ts";
import type { GenerateResult } from "../../src/orchestrator/api/facade.ts";
import { createLog } from "../../src/orchestrator/api/log.ts";
import { createServer } from "../../src/server/mcp/create-server.ts";
import { plainSettings } from "../support/caller-settings.ts";
import { createFakeJobs, createFakeOrchestrator, drivenOperation, generated } from "../support/fake-orchestrator.ts";
import { startListener } from "./http/listener-fixture.ts";

const extension = "io.modelcontextprotocol/tasks";
type Answer = { result?: Record<string, unknown>; error?: { code: number; data?: unknown } };

/** A modern client by hand: the SDK's own does not know the extension. */
async function connect(patienceSeconds = 0.001) {
  const operation = drivenOperation<GenerateResult>();
  const orchestrator = createFakeOrchestrator({ generate: async () => operation });
  const read = vi.spyOn(orchestrator.metrics, "noteRead");
  const parts = {
    version: "0.0.0-test",
    log: createLog("silent", () => undefined),
    id: "1",
    mayOfferRoots: false,
    homeDirectory: "/nonexistent",
    open: async () => ({
      orchestrator,
      callerSettings: { ...plainSettings, jobs: { patience: patienceSeconds } },
      fileRoots: [],
      warnings: [],
      configFile: "/config.yaml",
    }),
  };
  const [client, server] = InMemoryTransport.createLinkedPair();
  serveStdio(() => createServer(parts), { transport: server });
  const waiting = new Map<unknown, (answer: Answer) => void>();
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the SDK has no other way.
  client.onmessage = (message: JSONRPCMessage) => {
    if ("id" in message) waiting.get(message.id)?.(message as Answer);
  };
  await client.start();
  let id = 0;
  return {
    operation,
    read,
    close: () => client.close(),
    request(method: string, params: object = {}, extensions: object = { [extension]: {} }): Promise<Answer> {
      id += 1;
      const _meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { name: "by-hand", version: "1" },
        "io.modelcontextprotocol/clientCapabilities": { extensions },
      };
      const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve));
      void client.send({ jsonrpc: "2.0", id, method, params: { ...params, _meta } });
      return answered;
    },
  };
}

describe("a client that takes the protocol's own tasks", () => {
  let close: (() => Promise<void>) | undefined;
  afterEach(() => close?.());

  async function detach() {
    const client = await connect();
    close = client.close;
    const params = { name: "route_and_generate", arguments: { prompt: "Hi" } };
    return { ...client, params, created: await client.request("tools/call", params) };
  }

  it("finds them among the server's capabilities", async () => {
    const client = await connect();
    close = client.close;
    const { result } = await client.request("server/discover");
    expect(result?.["capabilities"]).toMatchObject({ extensions: { [extension]: {} } });
  });

  it("gets one in place of a job", async () => {
    const { created } = await detach();
    expect(created.result).toMatchObject({
      resultType: "task",
      taskId: "generate-1",
      status: "working",
      statusMessage: "generate with smollm2:135m",
      createdAt: "1970-01-01T00:00:00.000Z",
      ttlMs: null,
      pollIntervalMs: 2000,
    });
    expect(created.result).not.toHaveProperty("structuredContent");
  });

  it("asks how far it is, and gets the tool's answer in the end", async () => {
    const { request, operation, read } = await detach();
    operation.report({ message: "loading smollm2:135m" });
    const task = () => request("tasks/get", { taskId: "generate-1" });
    expect((await task()).result).toMatchObject({
      resultType: "complete",
      status: "working",
      statusMessage: "loading smollm2:135m",
    });
    operation.succeed(generated);
    await expect.poll(async () => (await task()).result?.["status"]).toBe("completed");
    const { result } = await task();
    // For each time that it was sent.
    const sent = [expect.objectContaining({ client: "by-hand" }), "general", expect.stringContaining(generated.text)];
    expect(read.mock.calls).toEqual([sent, sent]);
    expect(result).toMatchObject({
      ttlMs: expect.any(Number),
      result: {
        content: [{ text: generated.text }, { text: "smollm2:135m, 92.3 tokens/s" }],
        structuredContent: { text: generated.text, model: "smollm2:135m" },
      },
    });
  });

  it("has a failure as the tool would have returned it", async () => {
    const { request, operation } = await detach();
    operation.fail(new LoadFailed("no memory", { next: { step: "showStatus" } }));
    const task = () => request("tasks/get", { taskId: "generate-1" });
    await expect.poll(async () => (await task()).result?.["status"]).toBe("completed");
    expect((await task()).result?.["result"]).toEqual({
      content: [
        {
          type: "text",
          text: "no memory\nCall system_status to see what is wrong, or do the task yourself.",
        },
      ],
      isError: true,
    });
  });

  it("cancels it, once and again", async () => {
    const { request, operation } = await detach();
    operation.cancel = () => operation.fail(new Error("aborted"));
    for (const _again of [1, 2]) {
      const { result } = await request("tasks/cancel", { taskId: "generate-1" });
      expect(result).toMatchObject({ resultType: "complete" });
    }
    expect((await request("tasks/get", { taskId: "generate-1" })).result).toMatchObject({ status: "cancelled" });
  });

  it("may answer what was never asked", async () => {
    const { request } = await detach();
    const { result } = await request("tasks/update", { taskId: "generate-1", inputResponses: { x: {} } });
    expect(result).toMatchObject({ resultType: "complete" });
  });

  it.each(["tasks/get", "tasks/update", "tasks/cancel"])(
    "learns from %s that there is no such task",
    async (method) => {
      const { request } = await detach();
      expect((await request(method, { taskId: "generate-9" })).error?.code).toBe(-32602);
      expect((await request(method, { taskId: 9 })).error?.code).toBe(-32602);
      expect((await request(method)).error?.code).toBe(-32602);
    },
  );

  it("has to say so with every request", async () => {
    const { request, params } = await detach();
    const { error } = await request("tasks/get", { taskId: "generate-1" }, {});
    expect(error).toMatchObject({ code: -32021, data: { requiredCapabilities: { extensions: { [extension]: {} } } } });
    const { result } = await request("tools/call", params, {});
    expect(result).toMatchObject({ resultType: "complete", structuredContent: { job: "generate-1" } });
  });

  it.each(["tasks/list", "tasks/result"])("knows that %s is no more", async (method) => {
    const { request } = await detach();
    expect((await request(method, { taskId: "generate-1" })).error?.code).toBe(-32601);
  });
});

describe("tasks over HTTP", () => {
  it("are asked for by the same methods, named in the header", async () => {
    const jobs = createFakeJobs();
    const operation = drivenOperation<GenerateResult>();
    const caller = { id: "1", client: "by-hand", signal: new AbortController().signal } as never;
    const outcome = operation.follow(new AbortController().signal).then(() => ({}));
    jobs.adopt(caller, { tool: "route_and_generate", operation, outcome, errorText: String });
    const listener = await startListener({ orchestrator: createFakeOrchestrator({ jobs }) });
    const ask = (taskId: string) =>
      listener.ask("/mcp", {
        headers: { "mcp-protocol-version": "2026-07-28", "mcp-method": "tasks/get", "mcp-name": taskId },
        body: {
          jsonrpc: "2.0",
          id: 1,
          method: "tasks/get",
          params: {
            taskId,
            _meta: {
              "io.modelcontextprotocol/protocolVersion": "2026-07-28",
              "io.modelcontextprotocol/clientInfo": { name: "by-hand", version: "1" },
              "io.modelcontextprotocol/clientCapabilities": { extensions: { [extension]: {} } },
            },
          },
        },
      });
    const found = await ask("generate-1");
    expect(found.status).toBe(200);
    expect(found.text).toContain('"status":"working"');
    expect((await ask("generate-9")).text).toContain('"code":-32602');
    await listener.close();
  });
});
