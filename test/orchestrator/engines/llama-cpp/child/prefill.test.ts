import { describe, expect, it } from "vitest";
import { createThreadContest } from "../../../../../src/orchestrator/engines/llama-cpp/child/threads.ts";
import { createPrefill } from "../../../../../src/orchestrator/engines/llama-cpp/child/generate.ts";
import type { ContextSequence, Token } from "../../../../../src/orchestrator/engines/llama-cpp/child/node-llama-cpp.ts";
import type { ChildEvent } from "../../../../../src/orchestrator/engines/llama-cpp/child/protocol.ts";
import { Turns } from "../../../../../src/orchestrator/engines/llama-cpp/child/turns.ts";
import { Pause } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

const never = new AbortController().signal;
const pauseOf = (signal: AbortSignal, emit: (event: ChildEvent) => void = () => {}) => new Pause(emit, signal);

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
  const options = {
    batchTokens: 128,
    turns: new Turns(
      { begin: () => {}, beforeToken: () => {} },
      { batchTokens: 128, llama: { maxThreads: 0 }, contest: createThreadContest(2, 5) },
    ),
    measured: () => {},
  };

  it("evaluates every token once, in order, a batch at a time, with progress after each", async () => {
    const { evaluated, sequence } = recorder();
    let heard = 0;
    await createPrefill(options)(sequence, tokens(700), pauseOf(never), never, () => void (heard += 1));
    expect(heard).toBe(evaluated.length);
    expect(evaluated.flat()).toEqual(tokens(700));
    expect(evaluated.map((part) => part.length)).toEqual([128, 128, 128, 128, 128, 60]);
  });
  it("stops between two chunks when aborted", async () => {
    const controller = new AbortController();
    const { evaluated, sequence } = recorder(() => controller.abort());
    await expect(
      createPrefill(options)(sequence, tokens(700), pauseOf(controller.signal), controller.signal, () => {}),
    ).rejects.toMatchObject({
      code: "cancelled",
    });
    expect(evaluated).toHaveLength(1);
  });
  it("waits between two chunks while paused, and ends at once when aborted then", async () => {
    const controller = new AbortController();
    const { evaluated, sequence } = recorder(() => pause.ask());
    let isPaused = () => {};
    const paused = new Promise<void>((resolve) => (isPaused = resolve));
    const pause = pauseOf(controller.signal, () => isPaused());
    const reading = createPrefill(options)(sequence, tokens(700), pause, controller.signal, () => {});
    await paused;
    expect(evaluated).toHaveLength(1);
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "cancelled" });
    expect(evaluated).toHaveLength(1);
  });
});
