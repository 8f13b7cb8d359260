import { describe, expect, it } from "vitest";
import { ModelDoesNotFit, PromptTooLong } from "../../src/orchestrator/api/errors.ts";
import type { GenerateRequest } from "../../src/orchestrator/api/facade.ts";
import { advice } from "../../src/orchestrator/api/next-step.ts";
import type { Engine } from "../../src/orchestrator/engines/engine.ts";
import type { GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import type { FakeOllamaOptions } from "../support/fake-ollama.ts";
import { startPair } from "./engines/ollama/fixture.ts";

const model = "qwen2.5-coder:0.5b";
const secret = "The password is heliotrope.";
/** The fake server counts words, and five tokens for the template of a message. */
const words = (count: number) => `${secret} ${"word ".repeat(count - 5 - 4)}`.trim();

/** A server that knows what it read, on a machine with so much memory. */
async function setUp(memoryBytes = 32 * gigabyte, others: NonNullable<FakeOllamaOptions["models"]> = []) {
  const { fake, engine } = await startPair({
    models: [
      {
        name: model,
        contextTokens: 32_768,
        sizeBytes: 398_000_000,
        reply: (prompt) => (prompt.includes("heliotrope") ? "heliotrope" : "I don't know."),
      },
      ...others,
    ],
  });
  const settings = { memory: { bufferBytes: 0 } };
  const harness = createTestOrchestrator([engine], { memoryBytes, settings });
  const ask = (promptTokens: number, more: Partial<GenerateRequest> = {}) => {
    const messages = [{ role: "user" as const, content: words(promptTokens) }];
    return harness.generate({ prompt: "Which password?", model, chat: { messages, sampling: {} }, ...more });
  };
  return { fake, ask, ...harness };
}

describe("a program's prompt", () => {
  it("of 15,750 tokens is read whole, also by a model that was loaded with less context", async () => {
    const { fake, ask } = await setUp();
    const content = words(15_750);
    const direct = { model, messages: [{ role: "user", content }], stream: false };
    const answer = await fetch(`${fake.url}/api/chat`, { method: "POST", body: JSON.stringify(direct) });
    expect(await answer.json(), "as Ollama does it").toMatchObject({ prompt_eval_count: 2048 });
    expect(fake.loads.at(-1)?.contextTokens).toBe(4096);
    const result = await ask(15_750);
    expect(result).toMatchObject({ promptTokens: 15_750, text: "heliotrope", finishReason: "stop" });
    expect(fake.loads.at(-1)?.contextTokens).toBe(32_768);
    expect(await ask(9_000), "and is not reloaded with less").toMatchObject({ promptTokens: 9_000 });
    expect(fake.loads).toHaveLength(2);
  });

  it("is not cut by a smaller context that the program asks for", async () => {
    const { ask, fake } = await setUp();
    expect(await ask(15_750, { contextTokens: 2_048 })).toMatchObject({ promptTokens: 15_750, text: "heliotrope" });
    expect(await ask(100, { contextTokens: 30_000 })).toMatchObject({ promptTokens: 100 });
    expect(fake.loads.map(({ contextTokens }) => contextTokens)).toEqual([32_768]);
  });

  it("is planned with the context that it needs, and nothing happens", async () => {
    const { orchestrator, caller, fake } = await setUp();
    const messages = [{ role: "user" as const, content: words(15_750) }];
    const tools = [{ name: "read", parameters: { type: "object" } }];
    const chat = { messages, sampling: {}, tools };
    const asked = orchestrator.planGeneration(caller(), { prompt: "?", model, chat });
    await expect(asked).rejects.toThrow("tools");
    const { plan } = await orchestrator.planGeneration(caller(), {
      prompt: "?",
      model,
      chat: { messages, sampling: {} },
    });
    expect(plan).toMatchObject({ contextTokens: 32_768, isLoaded: false, fits: true });
    expect(fake.requests.filter(({ path }) => path === "/api/chat")).toEqual([]);
  });

  it("beyond the model's window is refused with both numbers", async () => {
    const { ask } = await setUp();
    const failure = await ask(80_000).catch((error: unknown) => error as PromptTooLong);
    expect(failure).toBeInstanceOf(PromptTooLong);
    expect(failure).toMatchObject({ contextTokens: 32_768 });
    expect((failure as PromptTooLong).promptTokens).toBeGreaterThan(70_000);
    const counted = await ask(34_000).catch((error: unknown) => error as PromptTooLong);
    expect(counted, "by the count of the engine").toMatchObject({ promptTokens: 34_000, isExact: true });
    expect((counted as PromptTooLong).contextTokens).toBe(32_768);
  });

  it("that fits with less room for the answer is answered in the widest context that fits memory", async () => {
    const { ask, fake } = await setUp(1.3 * gigabyte);
    const result = await ask(15_750);
    expect(result).toMatchObject({
      promptTokens: 15_750,
      text: "heliotrope",
      notes: ["context limited to 20480 tokens instead of 32768: more does not fit in memory"],
    });
    expect(fake.loads.map(({ contextTokens }) => contextTokens)).toEqual([20_480]);
    expect(await ask(16_000)).toMatchObject({ promptTokens: 16_000 });
    expect(fake.loads, "the same context serves the next turn").toHaveLength(1);
  });

  it("that fits no context that fits memory is refused with that context, and what makes room", async () => {
    const { ask, fake } = await setUp(0.9 * gigabyte);
    const failure = await ask(15_750).catch((error: unknown) => error as PromptTooLong);
    expect(failure).toBeInstanceOf(PromptTooLong);
    expect(failure).toMatchObject({
      message: `the prompt has about 15764 tokens; the widest context of ${model} that fits in memory has 5120`,
      contextTokens: 5_120,
      next: [{ step: "shortenPrompt", byTokens: 10_900 }, advice("free memory")],
    });
    expect(fake.loads).toEqual([]);
    const none = await setUp(0.3 * gigabyte);
    const refusal = none.ask(15_750);
    await expect(refusal, "where no context fits, the model doesn't").rejects.toBeInstanceOf(ModelDoesNotFit);
  });

  it("that is longer than it was estimated gets the count of the engine with that context", async () => {
    const { ask } = await setUp(1.1 * gigabyte);
    const failure = await ask(26_000).catch((error: unknown) => error as PromptTooLong);
    expect(failure).toMatchObject({ promptTokens: 26_000, isExact: true });
    expect((failure as PromptTooLong).message).toMatch(/^the prompt has 26000 tokens; the widest context of /);
  });

  it("goes to another model whose wider context fits memory, if the program names none", async () => {
    const slim = {
      name: "slim:1b",
      contextTokens: 32_768,
      sizeBytes: 398_000_000,
      metadata: { "llama.block_count": 2 },
    };
    const { generate, fake } = await setUp(0.9 * gigabyte, [slim]);
    const messages = [{ role: "user" as const, content: words(15_750) }];
    const result = await generate({ prompt: "?", chat: { messages, sampling: {} } });
    expect(result).toMatchObject({ model: slim.name, promptTokens: 15_750 });
    expect(fake.loads).toEqual([{ name: slim.name, contextTokens: 32_768 }]);
  });
});

describe("the limit of an answer to a program", () => {
  const prices = { inputPerMillion: 1, outputPerMillion: 8, currency: "USD", date: "2026-11-22" };
  const content = "word ".repeat(15_750);

  /** The engine's request to a server elsewhere, with its own limits. */
  async function sent(more: Partial<Engine>, request: Partial<GenerateRequest> = {}, name = "gpt-9") {
    // Its list says nothing about the window.
    const listed = { name, sizeBytes: 0, trust: "remote" } as const;
    const engine = createFakeEngine("cloud", [listed], { kind: "openai", trust: "remote", ...more });
    const requests: GenerationRequest[] = [];
    engine.answer = (given) => {
      requests.push(given);
      return Promise.resolve({});
    };
    const { generate } = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" } });
    const chat = { messages: [{ role: "user" as const, content }], sampling: {} };
    await generate({ prompt: "?", model: name, chat, ...request });
    return requests[0];
  }

  it("is left to a server whose window is not known", async () => {
    expect(await sent({})).toMatchObject({ isUnlimited: true, messages: [{ content }] });
    expect(await sent({}, { maxTokens: 500 })).toMatchObject({ maxTokens: 500 });
    expect((await sent({}, { maxTokens: 500 }))?.isUnlimited).toBeUndefined();
  });

  it("is bounded where answers are paid for, so that a budget is not refused needlessly", async () => {
    const paid = { pricesOf: () => prices, monthlyBudget: 1 };
    const request = await sent(paid);
    expect(request?.maxTokens).toBe(32_768);
    expect(request?.isUnlimited).toBeUndefined();
    await expect(sent(paid, { maxTokens: 500_000 })).rejects.toThrow("of this month's budget of");
    expect(await sent(paid, {}, "kimi-k2")).toMatchObject({ maxTokens: 32_768 });
  });
});
