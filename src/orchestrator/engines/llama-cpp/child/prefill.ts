import { throwIfAborted } from "./failure.ts";
import type { ContextSequence, Llama, Token } from "./node-llama-cpp.ts";
import { createThreadContest } from "./thread-contest.ts";

/** Cancellation is checked between chunks, so this limits its delay. */
const chunkMs = 100;
/** With fewer tokens each takes twice as long, because llama.cpp uses another matrix product. */
const smallestChunkTokens = 64;

/** Returns the tokens of the next chunk of a prompt: about 100 ms at the measured speed, at most one batch. */
export function chunkTokensAt(tokensPerMs: number, batchTokens: number): number {
  return Math.max(smallestChunkTokens, Math.min(batchTokens, Math.round(tokensPerMs * chunkMs)));
}

/** Calls `progressed` after each chunk. */
export type Prefill = (
  sequence: ContextSequence,
  tokens: readonly Token[],
  signal: AbortSignal,
  progressed: () => void,
) => Promise<void>;

/**
 * Evaluates prompts in chunks and checks for cancellation between them, because one evaluation can't be interrupted (17–35 s
 * for 3,000 tokens with a 460M model). The measured speed determines the size of later chunks, across prompts.
 */
export function createPrefill(options: {
  readonly llama: Llama;
  /** Maximum; fewer are used when that is faster. */
  readonly threads: number;
  readonly batchTokens: number;
}): Prefill {
  const { llama, batchTokens } = options;
  const contest = createThreadContest([...new Set([1, Math.ceil(options.threads / 2), options.threads])]);
  let tokensPerMs = 0;
  return async (sequence, tokens, signal, progressed) => {
    for (let start = 0; start < tokens.length;) {
      throwIfAborted(signal);
      const chunk = tokens.slice(start, start + chunkTokensAt(tokensPerMs, batchTokens));
      const threads = contest.next();
      llama.maxThreads = threads;
      const startedAt = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(chunk);
      start += chunk.length;
      progressed();
      // The last, short chunk of a prompt is not representative.
      if (chunk.length < smallestChunkTokens) continue;
      tokensPerMs = chunk.length / Math.max(performance.now() - startedAt, 0.01);
      contest.measured(threads, tokensPerMs);
    }
    throwIfAborted(signal);
  };
}
