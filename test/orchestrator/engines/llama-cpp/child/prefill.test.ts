import { describe, expect, it } from "vitest";
import { createPrefill } from "../../../../../src/orchestrator/engines/llama-cpp/child/generate.ts";
import type {
  ContextSequence,
  Llama,
  Token,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";

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

  it("evaluates every token once, in order, a batch at a time, with progress after each", async () => {
    const { evaluated, sequence } = recorder();
    let heard = 0;
    await createPrefill(options)(sequence, tokens(700), new AbortController().signal, () => void (heard += 1));
    expect(heard).toBe(evaluated.length);
    expect(evaluated.flat()).toEqual(tokens(700));
    expect(evaluated.map((part) => part.length)).toEqual([128, 128, 128, 128, 128, 60]);
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
