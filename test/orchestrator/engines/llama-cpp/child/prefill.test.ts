import { describe, expect, it } from "vitest";
import { chunkTokensAt, createPrefill } from "../../../../../src/orchestrator/engines/llama-cpp/child/prefill.ts";
import type {
  ContextSequence,
  Llama,
  Token,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";

describe("the size of a chunk", () => {
  it.each([
    { tokensPerMs: 1, expected: 100, why: "100 ms at the measured speed" },
    { tokensPerMs: 20, expected: 128, why: "never more than a batch" },
    { tokensPerMs: 0.01, expected: 64, why: "never so few that each takes twice as long" },
  ])("$tokensPerMs tokens/ms → $expected: $why", ({ tokensPerMs, expected }) => {
    expect(chunkTokensAt(tokensPerMs, 128)).toBe(expected);
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

  it("evaluates every token once, in order, in chunks within a batch, with progress after each", async () => {
    const { evaluated, sequence } = recorder();
    let heard = 0;
    await createPrefill(options)(sequence, tokens(700), new AbortController().signal, () => void (heard += 1));
    expect(heard).toBe(evaluated.length);
    expect(evaluated.flat()).toEqual(tokens(700));
    // A small chunk first, because the speed of the machine is unknown.
    expect(evaluated[0]).toHaveLength(64);
    expect(Math.max(...evaluated.map((part) => part.length))).toBeLessThanOrEqual(128);
  });
  it("stops between two chunks when aborted", async () => {
    const controller = new AbortController();
    const { evaluated, sequence } = recorder(() => controller.abort());
    await expect(createPrefill(options)(sequence, tokens(700), controller.signal, () => {})).rejects.toMatchObject({
      code: "cancelled",
    });
    expect(evaluated).toHaveLength(1);
  });
});
