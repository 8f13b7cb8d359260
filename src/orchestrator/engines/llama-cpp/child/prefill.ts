import type { ContextSequence, Llama, Token } from "./node-llama-cpp.ts";
import { throwIfAborted } from "./failure.ts";

/** A cancel is seen only between chunks: this bounds how long it takes to be seen. */
const chunkMs = 100;
/** Below it the matrix products lose their batch, and the prompt its speed; and what it says about speed is noise. */
const smallestChunkTokens = 16;
/** A speed measured so many chunks ago (about 2 s) is measured again. */
const freshChunks = 20;

/** Speed of the last chunk that was evaluated with so many threads. */
export interface ChunkSpeed {
  readonly tokensPerMs: number;
  /** Counts all chunks of the process. */
  readonly chunk: number;
}

/** Tokens of the next chunk of a prompt, so that it takes about 100 ms at the measured speed, within one batch. */
export function chunkTokensAt(tokensPerMs: number, batchTokens: number): number {
  return Math.max(smallestChunkTokens, Math.min(batchTokens, Math.round(tokensPerMs * chunkMs)));
}

/**
 * Threads of the next chunk: whoever was never measured or not for 2 s, else the fastest. All cores are fastest on an
 * idle machine, but threads wait for each other actively: beside other programs on the same cores two of them were 50
 * times slower than one.
 */
export function chooseThreads(
  candidates: readonly number[],
  speeds: ReadonlyMap<number, ChunkSpeed>,
  chunk: number,
): number {
  const stale = candidates.find((threads) => chunk - (speeds.get(threads)?.chunk ?? -Infinity) > freshChunks);
  const speedOf = (threads: number) => speeds.get(threads)?.tokensPerMs ?? 0;
  return stale ?? candidates.reduce((best, threads) => (speedOf(threads) > speedOf(best) ? threads : best));
}

/**
 * Evaluates prompts chunk by chunk with a check for cancellation between the chunks: within one evaluation the engine
 * sees no signal (17–35 s for 3,000 tokens of a 460M model). What one prompt measured sizes the next one's chunks.
 */
export function createPrefill(options: {
  readonly llama: Llama;
  /** Granted; fewer are used when that is faster. */
  readonly threads: number;
  readonly batchTokens: number;
  readonly firstChunkTokens: number;
}): (sequence: ContextSequence, tokens: readonly Token[], signal: AbortSignal) => Promise<void> {
  const { llama, batchTokens } = options;
  const candidates = [...new Set([options.threads, Math.ceil(options.threads / 2), 1])];
  const speeds = new Map<number, ChunkSpeed>();
  let chunk = 0;

  return async (sequence, tokens, signal) => {
    for (let start = 0; start < tokens.length;) {
      throwIfAborted(signal);
      const threads = chooseThreads(candidates, speeds, chunk);
      const known = speeds.get(threads);
      const size = known
        ? chunkTokensAt(known.tokensPerMs, batchTokens)
        : Math.min(batchTokens, options.firstChunkTokens);
      const part = tokens.slice(start, start + size);
      llama.maxThreads = threads;
      const startedAt = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(part);
      start += part.length;
      if (part.length < smallestChunkTokens) continue;
      speeds.set(threads, { tokensPerMs: part.length / Math.max(performance.now() - startedAt, 0.01), chunk });
      chunk += 1;
    }
    throwIfAborted(signal);
  };
}
