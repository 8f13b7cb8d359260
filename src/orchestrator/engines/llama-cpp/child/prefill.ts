import { throwIfAborted } from "./failure.ts";
import type { ContextSequence, Llama, Token } from "./node-llama-cpp.ts";
import { createThreadContest } from "./thread-contest.ts";

/** Calls `progressed` after each chunk. */
export type Prefill = (
  sequence: ContextSequence,
  tokens: readonly Token[],
  signal: AbortSignal,
  progressed: () => void,
) => Promise<void>;

/**
 * Evaluates prompts batch by batch and checks for cancellation in between, because one evaluation can't be interrupted
 * (17–35 s for 3,000 tokens with a 460M model). Smaller chunks would react sooner but cost more: on two cores, two
 * threads evaluated 327 tokens/s in chunks of 128 and 128 tokens/s, less than one thread, in chunks of 64.
 */
export function createPrefill(options: {
  readonly llama: Llama;
  /** Maximum; fewer are used when that is faster. */
  readonly threads: number;
  readonly batchTokens: number;
}): Prefill {
  const { llama, batchTokens } = options;
  const contest = createThreadContest([...new Set([1, Math.ceil(options.threads / 2), options.threads])]);
  return async (sequence, tokens, signal, progressed) => {
    for (let start = 0; start < tokens.length;) {
      throwIfAborted(signal);
      const chunk = tokens.slice(start, start + batchTokens);
      const threads = contest.next();
      llama.maxThreads = threads;
      const startedAt = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(chunk);
      start += chunk.length;
      progressed();
      // The last, short chunk of a prompt is not representative.
      if (chunk.length < batchTokens) continue;
      contest.measured(threads, chunk.length / Math.max(performance.now() - startedAt, 0.01));
    }
    throwIfAborted(signal);
  };
}
