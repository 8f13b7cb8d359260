import { describe, expect, it } from "vitest";
import {
  chooseThreads,
  chunkTokensAt,
  createPrefill,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/prefill.ts";
import type {
  ContextSequence,
  Llama,
  Token,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";

describe("size of a chunk", () => {
  it.each([
    { tokensPerMs: 1, expected: 100, why: "100 ms at the measured speed" },
    { tokensPerMs: 20, expected: 128, why: "never more than a batch" },
    { tokensPerMs: 0.01, expected: 16, why: "never so few that the batch is lost" },
  ])("$tokensPerMs tokens/ms → $expected: $why", ({ tokensPerMs, expected }) => {
    expect(chunkTokensAt(tokensPerMs, 128)).toBe(expected);
  });
});

describe("threads of a chunk", () => {
  const speeds = (
    entries: readonly (readonly [threads: number, tokensPerMs: number, chunk: number, losses?: number])[],
  ) => new Map(entries.map(([threads, tokensPerMs, chunk, losses = 0]) => [threads, { tokensPerMs, chunk, losses }]));

  it("starts with one, which other programs can't slow down much", () => {
    expect(chooseThreads([1, 2, 4], new Map(), 0)).toBe(1);
  });
  it("measures each count once", () => {
    expect(chooseThreads([1, 2, 4], speeds([[1, 1, 0]]), 1)).toBe(2);
  });
  it("then takes the fastest", () => {
    const measured = speeds([
      [1, 0.4, 0],
      [2, 0.5, 1],
      [4, 0.02, 2],
    ]);
    expect(chooseThreads([1, 2, 4], measured, 3)).toBe(2);
  });
  it.each([
    { losses: 0, rest: 20 },
    { losses: 1, rest: 40 },
    { losses: 3, rest: 160 },
    { losses: 99, rest: 640 },
  ])("who lost $losses times is measured again after $rest chunks", ({ losses, rest }) => {
    const measured = speeds([
      [1, 0.4, rest],
      [2, 0.02, 0, losses],
    ]);
    expect(chooseThreads([1, 2], measured, rest)).toBe(1);
    expect(chooseThreads([1, 2], measured, rest + 1)).toBe(2);
  });
});

describe("prefill", () => {
  const tokens = (count: number) => Array.from({ length: count }, (_, index) => index as Token);
  const recorder = (onChunk: () => void = () => {}) => {
    const evaluated: Token[][] = [];
    const sequence = {
      evaluateWithoutGeneratingNewTokens: async (part: Token[]) => {
        evaluated.push(part);
        onChunk();
      },
    } as unknown as ContextSequence;
    return { evaluated, sequence };
  };
  const options = { llama: { maxThreads: 0 } as Llama, threads: 2, batchTokens: 128 };

  it("evaluates every token once, in order, in chunks within a batch", async () => {
    const { evaluated, sequence } = recorder();
    await createPrefill(options)(sequence, tokens(700), new AbortController().signal);
    expect(evaluated.flat()).toEqual(tokens(700));
    // Nothing is known of the machine's speed: a small chunk tells it.
    expect(evaluated[0]).toHaveLength(16);
    expect(Math.max(...evaluated.map((part) => part.length))).toBeLessThanOrEqual(128);
  });
  it("stops between two chunks when it is aborted", async () => {
    const controller = new AbortController();
    const { evaluated, sequence } = recorder(() => controller.abort());
    await expect(createPrefill(options)(sequence, tokens(700), controller.signal)).rejects.toMatchObject({
      code: "cancelled",
    });
    expect(evaluated).toHaveLength(1);
  });
});
