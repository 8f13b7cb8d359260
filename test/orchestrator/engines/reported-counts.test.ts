import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Generation } from "../../../src/orchestrator/engines/generation.ts";
import { createOpenAiEngine } from "../../../src/orchestrator/engines/openai/index.ts";
import type { DocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { startFakeOpenAi } from "../../support/fake-openai.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { chatRequest, createRecorder, never, startPair as startOllama } from "./ollama/fixture.ts";
import { openAiOptions, startPair as startOpenAi } from "./openai/fixture.ts";

const impossible: readonly unknown[] = [2 ** 53, 1e308, "x", "12", -1, 0.5, 1e12, true, {}, [7]];
const answer = "Blue, like the sea.";
const prices = { inputPerMillion: 600, outputPerMillion: 2500, currency: "USD", date: "2026-11-22" };

/** A stream of one piece; `usage` as it is. */
const stream = (usage: unknown) =>
  [
    { model: "k2", choices: [{ index: 0, delta: { content: answer }, finish_reason: null }] },
    { model: "k2", choices: [{ index: 0, delta: {}, finish_reason: "stop" }] },
    { model: "k2", choices: [], usage },
  ]
    .map((event) => `data: ${JSON.stringify(event)}\n\n`)
    .join("") + "data: [DONE]\n\n";

function expectPlausible(generation: Generation): void {
  const { promptTokens, completionTokens, cachedPromptTokens = 0 } = generation;
  for (const count of [promptTokens, completionTokens, cachedPromptTokens])
    expect(count).toSatisfy(Number.isSafeInteger);
  expect(promptTokens).toBeGreaterThan(0);
  expect(promptTokens).toBeLessThan(20_000);
  expect(completionTokens).toBeGreaterThan(0);
  expect(completionTokens).toBeLessThan(200);
  expect(cachedPromptTokens).toBeLessThanOrEqual(promptTokens);
  for (const ms of [generation.loadMs, generation.prefillMs, generation.decodeMs]) {
    expect(ms).toBeGreaterThanOrEqual(0);
    expect(ms).toBeLessThanOrEqual(24 * 3_600_000);
  }
}

describe("counts of tokens that can't be true", () => {
  it.each(impossible)("from Ollama are replaced by an estimate: %j", async (wrong) => {
    const counts = { prompt_eval_count: wrong, eval_count: wrong };
    const reported = () => ({ ...counts, load_duration: wrong, prompt_eval_duration: -1, eval_duration: 1e308 });
    const { engine } = await startOllama({ reported });
    const generation = await engine.generate(chatRequest(), createRecorder(), never);
    expectPlausible(generation);
    expect(generation.estimatedUsage).toBe("impossible");
  });

  it.each(impossible)("from a server with OpenAI's protocol are replaced by an estimate: %j", async (wrong) => {
    const { engine, fake } = await startOpenAi({ dialect: "cloud", models: [{ id: "k2" }] });
    const usage = { prompt_tokens: wrong, completion_tokens: wrong, cached_tokens: wrong };
    const headers = { "content-type": "text/event-stream" };
    fake.misbehave({ kind: "status", status: 200, headers, body: stream(usage) });
    const generation = await engine.generate(chatRequest({ model: "k2" }), createRecorder(), never);
    expectPlausible(generation);
    expect(generation.estimatedUsage).toBe("impossible");
  });

  it("are told from counts that are missing, and from true ones", async () => {
    const { engine, fake } = await startOpenAi({ dialect: "cloud", models: [{ id: "k2" }] });
    const headers = { "content-type": "text/event-stream" };
    const ask = async (usage: unknown) => {
      fake.misbehave({ kind: "status", status: 200, headers, body: stream(usage) });
      return engine.generate(chatRequest({ model: "k2" }), createRecorder(), never);
    };
    expect(await ask(undefined)).toMatchObject({ estimatedUsage: "missing", completionTokens: 5 });
    const whole = await ask({ prompt_tokens: 9, completion_tokens: 6 });
    expect(whole).toMatchObject({ promptTokens: 9, completionTokens: 6 });
    expect(whole).not.toHaveProperty("estimatedUsage");
  });
});

describe("what is stored of counts that a server reports", () => {
  const month = () => Date.parse("2026-11-20T12:00:00Z");
  const weird = fc.oneof(
    fc.constantFrom(...impossible, null, undefined, 0, 1, 50, Number.MAX_SAFE_INTEGER),
    fc.double(),
    fc.integer(),
    fc.string({ maxLength: 5 }),
  );
  const usages = fc.array(fc.record({ prompt_tokens: weird, completion_tokens: weird, cached_tokens: weird }), {
    minLength: 1,
    maxLength: 4,
  });

  function open(baseUrl: string, documentFiles: DocumentFiles) {
    const paid = { id: "kimi", serverKind: "cloud", trust: "remote", prices, monthlyBudget: 1_000 } as const;
    const engine = createOpenAiEngine(openAiOptions(baseUrl, paid));
    const settings = { privacy: "allow_remote" };
    return createTestOrchestrator([engine], { settings, documentFiles, now: month });
  }

  it("can be read at the next start, and spending never falls, whatever the counts", async () => {
    const fake = await startFakeOpenAi({ dialect: "cloud", models: [{ id: "k2" }] });
    onTestFinished(() => fake.close());
    const headers = { "content-type": "text/event-stream" };
    await fc.assert(
      fc.asyncProperty(usages, async (sequence) => {
        const texts = new Map<string, string>();
        let spent = 0;
        for (const usage of sequence) {
          fake.misbehave({ kind: "status", status: 200, headers, body: stream(usage) });
          const { orchestrator, generate, caller } = open(fake.baseUrl, createMemoryDocumentFiles(texts));
          const { cost, promptTokens, completionTokens } = await generate({
            prompt: "Name a colour.",
            model: "k2",
            maxTokens: 50,
          });
          expect(cost?.amount).toBeGreaterThan(0);
          for (const count of [promptTokens, completionTokens]) expect(count).toSatisfy(Number.isSafeInteger);
          await orchestrator.close();
          // As after a restart.
          const again = open(fake.baseUrl, createMemoryDocumentFiles(texts));
          const status = await again.orchestrator.systemStatus(caller());
          const [now] = status.engines[0]?.spending ?? [];
          expect(now?.amount).toBeGreaterThan(spent);
          spent = now?.amount ?? Number.NaN;
          expect(status.warnings.filter((text) => /spending|metrics/.test(text))).toEqual([]);
          expect((await again.orchestrator.metrics.report(caller())).total.requests).toBeGreaterThan(0);
          await again.orchestrator.close();
        }
      }),
      { numRuns: 25 },
    );
  });
});
