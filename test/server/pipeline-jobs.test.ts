import { afterEach, describe, expect, it } from "vitest";
import { Cancelled, ModelDoesNotFit } from "../../src/orchestrator/api/errors.ts";
import type { GenerateResult, Orchestrator, PullResult } from "../../src/orchestrator/api/facade.ts";
import { eventually } from "../support/eventually.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";

const eras: readonly Era[] = ["legacy", "modern"];
/** Shorter than anything that a test waits for. */
const noPatience = 0.001;

describe.each(eras)("a call that outlasts its client's patience, in the %s era", (era) => {
  const connections: MemoryClient[] = [];
  afterEach(async () => {
    await Promise.all(connections.splice(0).map((connection) => connection.close()));
  });

  async function connect(orchestrator: Orchestrator, patienceSeconds = noPatience, clientName = "test-client") {
    const connection = await connectMemoryClient(orchestrator, { era, patienceSeconds, clientName });
    connections.push(connection);
    return connection;
  }

  async function detach() {
    const operation = drivenOperation<GenerateResult>();
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    const connection = await connect(orchestrator);
    const answer = await connection.call("route_and_generate", { prompt: "Hi" });
    return { operation, orchestrator, connection, answer };
  }

  it("is answered with a job and what to call next, in both forms", async () => {
    const { answer } = await detach();
    expect(answer).toMatchObject({
      content: [
        {
          type: "text",
          text: 'Still running (generate with smollm2:135m). To get the answer, call job with action "wait" and job_id "generate-1".',
        },
      ],
      structuredContent: { job: "generate-1", next: 'call job with action "wait" and job_id "generate-1"' },
    });
    expect(answer.isError).toBeUndefined();
  });

  it("continues after its connection has closed, and another client reads the answer", async () => {
    const { operation, orchestrator, connection } = await detach();
    await connection.close();
    const other = await connect(orchestrator, 5);
    expect(await other.call("job", { action: "status", job_id: "generate-1" })).toMatchObject({
      structuredContent: { job: "generate-1", state: "running" },
    });
    expect(operation.ends).toEqual([]);
    operation.succeed(generated);
    const waited = await other.call("job", { action: "wait", job_id: "generate-1" });
    expect(waited.structuredContent).toMatchObject({
      state: "succeeded",
      result: { text: generated.text, model: "smollm2:135m" },
    });
    expect(waited.content).toEqual([
      { type: "text", text: generated.text },
      { type: "text", text: "smollm2:135m, 92.3 tokens/s" },
    ]);
  });

  it("has the error that the call would have had", async () => {
    const { operation, connection } = await detach();
    operation.fail(new ModelDoesNotFit("qwen3:32b needs 24 GB", { next: { step: "useModel", model: "qwen3:4b" } }));
    await expect
      .poll(async () => (await connection.call("job", { action: "status", job_id: "generate-1" })).structuredContent)
      .toMatchObject({
        state: "failed",
        error: 'qwen3:32b needs 24 GB\nUse model "qwen3:4b", or do the task yourself.',
      });
  });

  it("shows a defect as an internal error, with its stack only in the log", async () => {
    const { operation, connection } = await detach();
    operation.fail(new TypeError("x is not a function"));
    await expect
      .poll(async () => (await connection.call("job", { action: "status", job_id: "generate-1" })).structuredContent)
      .toMatchObject({ state: "failed", error: expect.stringContaining("internal error in route_and_generate") });
    expect(connection.logged.join("\n")).toMatch(/TypeError: x is not a function\n\s+at /);
  });

  it("is waited for by a client known to wait while progress flows", async () => {
    const operation = drivenOperation<GenerateResult>();
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    const connection = await connect(orchestrator, noPatience, "claude-code");
    const progress: string[] = [];
    const call = connection.client.callTool(
      { name: "route_and_generate", arguments: { prompt: "Hi" } },
      { onprogress: ({ message }) => void progress.push(message ?? "") },
    );
    await eventually(() => expect(operation.followers()).toBe(1));
    operation.report({ message: "loading" });
    // By now an impatient call would long have been answered.
    await eventually(() => expect(progress).toEqual(["loading"]));
    operation.succeed(generated);
    expect((await call).structuredContent).toMatchObject({ text: generated.text });
  });

  it("detaches from a pull when its client disconnects: it becomes a job", async () => {
    const operation = { ...drivenOperation<PullResult>("pull smollm2:135m"), kind: "pull" as const, id: "pull-1" };
    const orchestrator = createFakeOrchestrator({ pullModel: async () => operation });
    const connection = await connect(orchestrator, 45);
    connection.call("pull_model", { model: "smollm2:135m" }).catch(() => undefined);
    await eventually(() => expect(operation.followers()).toBe(1));
    await connection.close();
    const other = await connect(orchestrator);
    await eventually(async () =>
      expect((await other.call("job", { action: "list" })).structuredContent).toEqual({
        jobs: [{ job: "pull-1", state: "running", title: "pull smollm2:135m" }],
      }),
    );
    expect(operation.ends).toEqual([]);
  });

  it("is noted once, as a job", async () => {
    const { connection, operation } = await detach();
    operation.succeed(generated);
    expect(connection.noted).toEqual([
      {
        client: "test-client",
        tool: "route_and_generate",
        outcome: "job",
        durationMs: expect.any(Number),
      },
    ]);
  });
});

describe("the record of a call", () => {
  it.each([
    ["ok", undefined, { outcome: "ok", model: "smollm2:135m" }],
    ["an error of ours", new ModelDoesNotFit("too large"), { outcome: "error", error: "ModelDoesNotFit" }],
    ["a defect", new TypeError("oops"), { outcome: "error", error: "internal" }],
    ["a cancel", new Cancelled("cancelled"), { outcome: "cancelled" }],
  ] as const)("says %s", async (_what, error, expected) => {
    const operation = drivenOperation<GenerateResult>();
    if (error === undefined) operation.succeed(generated);
    else operation.fail(error);
    const connection = await connectMemoryClient(createFakeOrchestrator({ generate: async () => operation }));
    await connection.call("route_and_generate", { prompt: "Hi" });
    expect(connection.noted).toEqual([
      {
        client: "test-client",
        tool: "route_and_generate",
        durationMs: expect.any(Number),
        ...expected,
      },
    ]);
    await connection.close();
  });

  it.each([
    [true, { prompt: "a secret", answer: generated.text }],
    [false, {}],
  ])("holds prompt and answer only where the setting asks for them: %s", async (notesPrompts, text) => {
    const operation = drivenOperation<GenerateResult>();
    operation.succeed(generated);
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    const connection = await connectMemoryClient(orchestrator, { notesPrompts });
    await connection.call("route_and_generate", { prompt: "a secret" });
    const { client: _client, durationMs: _durationMs, trace, ...noted } = connection.noted[0] ?? {};
    expect(noted).toEqual({ tool: "route_and_generate", outcome: "ok", model: "smollm2:135m", ...text });
    expect(trace).toEqual(notesPrompts ? expect.stringMatching(/^[\da-f]{32}$/) : undefined);
    await connection.close();
  });

  it("holds no key of a prompt or an answer", async () => {
    const secret = "sk-proj-4711abcdefghijklmnop";
    const operation = drivenOperation<GenerateResult>();
    operation.succeed({ ...generated, text: `use ${secret} as the key` });
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    const connection = await connectMemoryClient(orchestrator, { notesPrompts: true });
    await connection.call("route_and_generate", { prompt: `what is ${secret}?` });
    expect(connection.noted).toMatchObject([{ prompt: "what is ***?", answer: "use *** as the key" }]);
    await connection.close();
  });

  it("is recorded as asked", async () => {
    const connection = await connectMemoryClient(createFakeOrchestrator(), {
      era: "modern",
      elicit: () => ({ action: "accept", content: { confirm: true } }),
    });
    await connection.call("manage_model", { action: "delete", model: "smollm2:135m" });
    expect(connection.noted.map(({ outcome }) => outcome)).toEqual(["asked", "ok"]);
    await connection.close();
  });

  it("names wrong arguments as such, and never what they were", async () => {
    const connection = await connectMemoryClient(createFakeOrchestrator());
    await connection.call("route_and_generate", { prompt: "secret", modell: "m" });
    expect(connection.noted).toMatchObject([{ outcome: "error", error: "InvalidRequest" }]);
    expect(JSON.stringify(connection.noted)).not.toContain("secret");
    await connection.close();
  });
});
