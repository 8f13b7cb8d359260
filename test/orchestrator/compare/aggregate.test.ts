import { describe, expect, it } from "vitest";
import { type Sample, aggregate, median } from "../../../src/orchestrator/compare/judge.ts";

const contestant = { model: "a", engine: "ollama" };
const sample = (more: Partial<Sample> = {}): Sample => ({
  text: "yes",
  finishReason: "stop",
  promptTokens: 5,
  completionTokens: 10,
  tokensPerSecond: 20,
  firstTokenMs: 100,
  totalMs: 600,
  loadMs: 0,
  isContended: false,
  ...more,
});

describe("the row of a model in the table", () => {
  it("has the medians of its runs, the first answer, and the load that the first run paid", () => {
    const runs = [
      sample({ text: "one", tokensPerSecond: 10, loadMs: 900 }),
      sample({ text: "two", tokensPerSecond: 30 }),
      sample({ text: "three", tokensPerSecond: 20 }),
    ];
    expect(aggregate(contestant, runs, { memoryBytes: 7 })).toEqual({
      ...contestant,
      text: "one",
      promptTokens: 5,
      completionTokens: 10,
      tokensPerSecond: 20,
      firstTokenMs: 100,
      totalMs: 600,
      loadMs: 900,
      memoryBytes: 7,
      finishReason: "stop",
      runs: 3,
    });
  });

  it("takes the first token from the first run: later ones find the prompt in the cache", () => {
    const runs = [sample({ firstTokenMs: 500, totalMs: 1000 }), sample({ firstTokenMs: 5, totalMs: 505 })];
    expect(aggregate(contestant, runs)).toMatchObject({ firstTokenMs: 500, totalMs: 1000 });
  });

  it("leaves out contended runs", () => {
    const runs = [sample({ tokensPerSecond: 1, isContended: true }), sample({ tokensPerSecond: 20 })];
    const row = aggregate(contestant, runs);
    expect(row.tokensPerSecond).toBe(20);
    expect(row.isContended).toBeUndefined();
  });

  it("is marked as contended when all runs were", () => {
    expect(aggregate(contestant, [sample({ isContended: true })])).toMatchObject({
      isContended: true,
      tokensPerSecond: 20,
    });
  });

  it("has no speed where none was measured", () => {
    expect(aggregate(contestant, [sample({ tokensPerSecond: 0 })])).not.toHaveProperty("tokensPerSecond");
  });

  it("has the error of a model that did not answer", () => {
    expect(aggregate(contestant, [], { error: "no room" })).toEqual({ ...contestant, text: "", error: "no room" });
  });
});

it.each([
  [[], undefined],
  [[3], 3],
  [[3, 1], 2],
  [[9, 1, 5], 5],
])("median of %j is %j", (values, expected) => {
  expect(median(values)).toBe(expected);
});
