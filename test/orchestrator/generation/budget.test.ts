import { describe, expect, it } from "vitest";
import { PromptTooLong } from "../../../src/orchestrator/errors.ts";
import { tokenBudget } from "../../../src/orchestrator/generation/budget.ts";

const ask = {
  model: "m",
  promptTokens: 100,
  isExact: false,
  maxTokens: undefined,
  defaultMaxTokens: 4096,
  contextTokens: undefined,
  defaultContextTokens: undefined,
  windowTokens: 32_768,
  outputTokens: undefined,
} as const;

describe("tokenBudget", () => {
  it.each([
    { name: "a short question takes the default window", change: {}, context: 4096, max: 4096 },
    {
      name: "a long prompt grows it to the next power of two",
      change: { promptTokens: 4000 },
      context: 8192,
      max: 4096,
    },
    { name: "an answer that was asked for gets its room", change: { maxTokens: 6000 }, context: 8192, max: 6000 },
    { name: "an answer nobody asked for doesn't", change: { defaultMaxTokens: 20_000 }, context: 4096, max: 20_000 },
    { name: "what the caller wants at least is kept", change: { contextTokens: 10_000 }, context: 16_384, max: 4096 },
    {
      name: "what the settings want at least is kept",
      change: { defaultContextTokens: 10_000 },
      context: 16_384,
      max: 4096,
    },
    {
      name: "what the settings want is lowered without a word",
      change: { defaultContextTokens: 100_000 },
      context: 32_768,
      max: 4096,
    },
    {
      name: "never beyond the model's window",
      change: { promptTokens: 20_000, windowTokens: 24_000 },
      context: 24_000,
      max: 4096,
    },
    {
      name: "an estimate a little beyond the window is left to the engine",
      change: { promptTokens: 40_000 },
      context: 32_768,
      max: 4096,
    },
    {
      name: "an unknown window is no limit",
      change: { windowTokens: undefined, promptTokens: 50_000 },
      context: 65_536,
      max: 4096,
    },
  ])("$name", ({ change, context, max }) => {
    const budget = tokenBudget({ ...ask, ...change });
    expect(budget).toMatchObject({ contextTokens: context, maxTokens: max, notes: [] });
    expect(budget.neededTokens).toBeLessThanOrEqual(context);
  });

  it("clamps max_tokens to what the model answers with, and says so", () => {
    const budget = tokenBudget({ ...ask, maxTokens: 9000, outputTokens: 8192 });
    expect(budget.maxTokens).toBe(8192);
    expect(budget.notes).toEqual(["answer limited to 8192 tokens instead of 9000: the most that m generates"]);
  });

  it("a limit from the settings is lowered without a word", () => {
    expect(tokenBudget({ ...ask, outputTokens: 2048 })).toMatchObject({ maxTokens: 2048, notes: [] });
  });

  it.each([
    { change: { promptTokens: 65_536 }, message: "the prompt has about 65536 tokens, m reads at most 32768" },
    { change: { promptTokens: 32_768, isExact: true }, message: "the prompt has 32768 tokens, m reads at most 32768" },
  ])("refuses a prompt that can't fit: $message", ({ change, message }) => {
    expect(() => tokenBudget({ ...ask, ...change })).toThrow(PromptTooLong);
    expect(() => tokenBudget({ ...ask, ...change })).toThrow(message);
  });
});
