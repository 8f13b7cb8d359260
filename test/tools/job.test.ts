import { encode } from "gpt-tokenizer/encoding/o200k_base";
import { afterEach, describe, expect, it } from "vitest";
import type { GenerateResult, Orchestrator, PullResult } from "../../src/orchestrator/api/facade.ts";
import type { Operation } from "../../src/orchestrator/api/types.ts";
import { pullAnswer } from "../../src/tools/manage-model.ts";
import {
  createFakeJobs,
  createFakeOrchestrator,
  drivenOperation,
  generated,
  type DrivenOperation,
} from "../support/fake-orchestrator.ts";
import { connectMemoryClient, type Era, type MemoryClient } from "../support/memory-client.ts";

describe("job", () => {
  let connection: MemoryClient | undefined;
  afterEach(async () => connection?.close());

  const caller = { id: "1", client: "claude-desktop", roots: [], signal: new AbortController().signal } as never;
  const pulled: PullResult = { name: "smollm2:135m", engine: "ollama", sizeBytes: 5e6, wasAlreadyPresent: false };

  /** Two jobs: a generation that has written something, and a pull. */
  async function withJobs(more: Partial<Orchestrator> = {}, era: Era = "legacy") {
    const jobs = createFakeJobs();
    const generation: DrivenOperation<GenerateResult> = {
      ...drivenOperation<GenerateResult>(),
      partial: () => ({ text: `${"words and words ".repeat(160)}the end`, thinking: "" }),
    };
    const pull = { ...drivenOperation<PullResult>("pull smollm2:135m"), id: "pull-3f9a2c1b", kind: "pull" as const };
    const adopt = <Result>(tool: string, operation: Operation<Result>, outcome: Promise<object>) =>
      jobs.adopt(caller, { tool, operation, outcome: outcome as never, errorText: String });
    const signal = new AbortController().signal;
    adopt(
      "route_and_generate",
      generation,
      generation.follow(signal).then(({ text, model, engine, reason, notes }) => ({
        text,
        model,
        engine,
        reason,
        ...(notes.length > 0 && { notes }),
      })),
    );
    adopt("pull_model", pull, pull.follow(signal).then(pullAnswer));
    connection = await connectMemoryClient(createFakeOrchestrator({ jobs, ...more }), { patienceSeconds: 0.01, era });
    return { connection, generation, pull, jobs };
  }

  it("lists them, newest first", async () => {
    const { connection: client, pull } = await withJobs();
    pull.report({ message: "pulling smollm2:135m", completedBytes: 1, totalBytes: 2 });
    const { content, structuredContent } = await client.call("job", { action: "list" });
    expect((structuredContent as { jobs: unknown[] }).jobs).toEqual(
      expect.arrayContaining([
        { job: "pull-3f9a2c1b", state: "running", title: "pull smollm2:135m", message: "pulling smollm2:135m" },
        { job: "generate-1", state: "running", title: "generate with smollm2:135m" },
      ]),
    );
    expect(content).toMatchObject([{ text: expect.stringContaining("pull-3f9a2c1b running: pulling smollm2:135m") }]);
  });

  it("says when there are none", async () => {
    connection = await connectMemoryClient(createFakeOrchestrator());
    expect(await connection.call("job", { action: "list" })).toMatchObject({
      content: [{ text: "no jobs" }],
      structuredContent: { jobs: [] },
    });
  });

  it("shows of a comparison the end of each answer, however long the last one is", async () => {
    const { connection: client, jobs } = await withJobs();
    const answers = ["a", "b"].map((model) => ({ model, text: `${"words ".repeat(400)}of ${model}` }));
    const comparison = {
      ...drivenOperation<GenerateResult>("compare a, b"),
      id: "compare-1",
      kind: "compare" as const,
      partial: () => ({ text: "words", thinking: "", answers }),
    };
    jobs.adopt(caller, {
      tool: "compare",
      operation: comparison,
      outcome: new Promise(() => undefined),
      errorText: String,
    });
    const { structuredContent } = await client.call("job", { action: "status", job_id: "compare-1" });
    const { partial_text: text } = structuredContent as { partial_text: string };
    expect(text).toMatch(/^=== a ===\n(words )+of a\n\n=== b ===\n(words )+of b$/);
    expect(text.length).toBeLessThan(2100);
  });

  it("shows how far it is, the end of its text from a word on, and what to call next", async () => {
    const { connection: client, generation } = await withJobs();
    generation.report({ message: "smollm2:135m: 7 tokens", completionTokens: 7 });
    const { structuredContent, content } = await client.call("job", { action: "status", job_id: "generate-1" });
    const { partial_text: text, ...facts } = structuredContent as { partial_text: string };
    expect(text.length).toBeGreaterThan(1980);
    expect(text.length).toBeLessThanOrEqual(2000);
    expect(text).toMatch(/^(words|and) .* the end$/);
    expect(facts).toEqual({
      job: "generate-1",
      state: "running",
      progress: { message: "smollm2:135m: 7 tokens", completion_tokens: 7 },
      next: 'call job with action "wait" and this id',
    });
    expect(content).toEqual([
      { type: "text", text },
      { type: "text", text: 'generate-1 running: smollm2:135m: 7 tokens\ncall job with action "wait" and this id' },
    ]);
  });

  it.each(["legacy", "modern"] as const)(
    "answers a wait that was too short with state and progress alone, in at most 60 tokens (%s)",
    async (era) => {
      const { connection: client, generation } = await withJobs({}, era);
      generation.report({ message: "smollm2:135m: 1234 tokens", completionTokens: 1234 });
      const { structuredContent, content } = await client.call("job", { action: "wait", job_id: "generate-1" });
      expect(structuredContent).toEqual({
        job: "generate-1",
        state: "running",
        progress: { message: "smollm2:135m: 1234 tokens", completion_tokens: 1234 },
        next: 'call job with action "wait" and this id',
      });
      const text = 'generate-1 running: smollm2:135m: 1234 tokens\ncall job with action "wait" and this id';
      expect(content).toEqual([{ type: "text", text }]);
      for (const form of [JSON.stringify(structuredContent), text]) expect(encode(form).length).toBeLessThanOrEqual(60);
    },
  );

  it("answers a wait for a job that failed with the error, not with half a text", async () => {
    const { connection: client, generation } = await withJobs();
    generation.fail(new Error("it crashed"));
    const { structuredContent, content } = await client.call("job", { action: "wait", job_id: "generate-1" });
    expect(structuredContent).toEqual({ job: "generate-1", state: "failed", error: "Error: it crashed" });
    expect(content).toEqual([{ type: "text", text: "generate-1 failed: Error: it crashed" }]);
  });

  it("has the notes of a finished answer in both forms", async () => {
    const { connection: client, generation } = await withJobs();
    const notes = ["the oldest 4 messages of the conversation were left out"];
    generation.succeed({ ...generated, notes });
    const { structuredContent, content } = await client.call("job", { action: "wait", job_id: "generate-1" });
    expect(structuredContent).toMatchObject({ result: { notes } });
    expect(content[1]).toMatchObject({ text: expect.stringContaining(`\nnote: ${notes[0]}`) });
  });

  it("waits no longer than its client does", async () => {
    const { connection: client } = await withJobs();
    const { structuredContent } = await client.call("job", { action: "wait", job_id: "pull-3f9a2c1b" });
    expect(structuredContent).toMatchObject({ job: "pull-3f9a2c1b", state: "running" });
  });

  it("gives the answer of the tool that began it, in that tool's words", async () => {
    const { connection: client, generation, pull } = await withJobs();
    generation.succeed(generated);
    pull.succeed(pulled);
    const [first, second] = await Promise.all([
      client.call("job", { action: "wait", job_id: "generate-1" }),
      client.call("job", { action: "wait", job_id: "pull-3f9a2c1b" }),
    ]);
    expect(first.content).toEqual([
      { type: "text", text: "The capital of France is Paris." },
      { type: "text", text: "smollm2:135m" },
    ]);
    expect(second).toMatchInlineSnapshot(`
      {
        "content": [
          {
            "text": "smollm2:135m is ready (ollama, 5.0 MB)",
            "type": "text",
          },
        ],
        "structuredContent": {
          "job": "pull-3f9a2c1b",
          "result": {
            "already_present": false,
            "engine": "ollama",
            "name": "smollm2:135m",
            "size_bytes": 5000000,
          },
          "state": "succeeded",
        },
      }
    `);
  });

  it("cancels, and says so", async () => {
    const { connection: client, pull } = await withJobs();
    const cancelled: string[] = [];
    pull.cancel = () => {
      cancelled.push("pull");
      pull.fail(new Error("aborted"));
    };
    expect(await client.call("job", { action: "cancel", job_id: "pull-3f9a2c1b" })).toMatchObject({
      content: [{ text: "pull-3f9a2c1b cancelled: pull smollm2:135m" }],
      structuredContent: { state: "cancelled" },
    });
    expect(cancelled).toEqual(["pull"]);
  });

  it("answers a cancel without the text so far, which status has", async () => {
    const { connection: client, generation } = await withJobs();
    generation.cancel = () => generation.fail(new Error("aborted"));
    const { content, structuredContent } = await client.call("job", { action: "cancel", job_id: "generate-1" });
    const next = 'call job with action "status" and this id for its text';
    expect(structuredContent).toEqual({ job: "generate-1", state: "cancelled", next });
    expect(content).toEqual([{ type: "text", text: `generate-1 cancelled: generate with smollm2:135m\n${next}` }]);
    const kept = await client.call("job", { action: "status", job_id: "generate-1" });
    expect(kept.structuredContent).toMatchObject({ partial_text: expect.stringContaining("the end") });
  });

  it("asks for the id where one is needed, and suggests the nearest", async () => {
    const { connection: client } = await withJobs();
    expect(await client.call("job", { action: "wait" })).toMatchObject({
      isError: true,
      content: [{ text: "job wait needs a job_id\nCall job with action list to see the jobs." }],
    });
    expect(await client.call("job", { action: "status", job_id: "pull-3f9a2c1c" })).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining("Did you mean pull-3f9a2c1b?") }],
    });
  });

  it("relays the progress of what it waits for", async () => {
    const { connection: client, pull } = await withJobs();
    const messages: (string | undefined)[] = [];
    pull.report({ message: "pulling smollm2:135m" });
    const call = client.client.callTool(
      { name: "job", arguments: { action: "wait", job_id: "pull-3f9a2c1b" } },
      { onprogress: ({ message }) => void messages.push(message) },
    );
    await expect.poll(() => messages).toEqual(["pulling smollm2:135m"]);
    pull.succeed(pulled);
    await call;
  });
});
