import { throwIfAborted } from "./failure.ts";
import type { ContextSequence, Llama, Token } from "./node-llama-cpp.ts";
import { createThreadContest } from "./thread-contest.ts";

/** A cancel is seen only between chunks: this bounds how long it takes to be seen. */
const chunkMs = 100;
/** Below it every token takes twice as long (llama.cpp's matrix product changes its way), so a slow prompt crawls. */
const smallestChunkTokens = 64;

/** Tokens of the next chunk of a prompt, so that it takes about 100 ms at the measured speed, within one batch. */
export function chunkTokensAt(tokensPerMs: number, batchTokens: number): number {
  return Math.max(smallestChunkTokens, Math.min(batchTokens, Math.round(tokensPerMs * chunkMs)));
}

/** `progressed` is called after each chunk. */
export type Prefill = (
  sequence: ContextSequence,
  tokens: readonly Token[],
  signal: AbortSignal,
  progressed: () => void,
) => Promise<void>;

/**
 * Evaluates prompts chunk by chunk with a check for cancellation between the chunks: within one evaluation the engine
 * sees no signal (17–35 s for 3,000 tokens of a 460M model). What one prompt measured sizes the next one's chunks.
 */
export function createPrefill(options: {
  readonly llama: Llama;
  /** Granted; fewer are used when that is faster. */
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
      // The short end of a prompt says nothing about speed.
      if (chunk.length < smallestChunkTokens) continue;
      tokensPerMs = chunk.length / Math.max(performance.now() - startedAt, 0.01);
      contest.measured(threads, tokensPerMs);
    }
    throwIfAborted(signal);
  };
}
