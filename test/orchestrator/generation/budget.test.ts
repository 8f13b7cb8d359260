import { describe, expect, it } from "vitest";
import { PromptTooLong } from "../../../src/orchestrator/api/errors.ts";
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
    { name: "a requested answer length is reserved", change: { maxTokens: 6000 }, context: 8192, max: 6000 },
    { name: "a default answer length is not", change: { defaultMaxTokens: 20_000 }, context: 4096, max: 20_000 },
    { name: "a requested context is the minimum", change: { contextTokens: 10_000 }, context: 16_384, max: 4096 },
    {
      name: "a configured context is the minimum",
      change: { defaultContextTokens: 10_000 },
      context: 16_384,
      max: 4096,
    },
    {
      name: "a configured context beyond the window is lowered without a note",
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
      name: "a prompt estimated a little beyond the window is left to the engine",
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

  it("lowers the answer limit to that of the model, with a note", () => {
    const budget = tokenBudget({ ...ask, maxTokens: 9000, outputTokens: 8192 });
    expect(budget.maxTokens).toBe(8192);
    expect(budget.notes).toEqual(["answer limited to 8192 tokens instead of 9000: the most that m generates"]);
  });

  it("lowers a limit from the settings without a note", () => {
    expect(tokenBudget({ ...ask, outputTokens: 2048 })).toMatchObject({ maxTokens: 2048, notes: [] });
  });

  it.each([
    { change: { promptTokens: 65_536 }, message: "the prompt has about 65536 tokens; the window of m has 32768" },
    {
      change: { promptTokens: 32_768, isExact: true },
      message: "the prompt has 32768 tokens; the window of m has 32768",
    },
  ])("refuses a prompt that can't fit: $message", ({ change, message }) => {
    expect(() => tokenBudget({ ...ask, ...change })).toThrow(PromptTooLong);
    expect(() => tokenBudget({ ...ask, ...change })).toThrow(message);
  });
});
