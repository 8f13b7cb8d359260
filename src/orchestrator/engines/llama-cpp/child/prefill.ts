import type { ContextSequence, Llama, Token } from "./node-llama-cpp.ts";
import { throwIfAborted } from "./failure.ts";

/** A cancel is seen only between chunks: this bounds how long it takes to be seen. */
const chunkMs = 100;
/** Below it the matrix products lose their batch, and the prompt its speed; and what it says about speed is noise. */
const smallestChunkTokens = 16;
/** A speed that lost is measured again after so many chunks (about 2 s), then after twice as many, and so on. */
const firstRematchChunks = 20;
const mostLosses = 5;

/** What is known of so many threads. */
export interface ThreadSpeed {
  /** Of the last chunk evaluated with them. */
  readonly tokensPerMs: number;
  /** Number of that chunk, counting all of the process. */
  readonly chunk: number;
  /** Times in a row that others were faster. */
  readonly losses: number;
}

/** Tokens of the next chunk of a prompt, so that it takes about 100 ms at the measured speed, within one batch. */
export function chunkTokensAt(tokensPerMs: number, batchTokens: number): number {
  return Math.max(smallestChunkTokens, Math.min(batchTokens, Math.round(tokensPerMs * chunkMs)));
}

/**
 * Threads of the next chunk: whoever was never measured or whose rematch is due, else the fastest. All cores are fastest
 * on an idle machine; but threads wait for each other actively, and beside other programs on the same cores one chunk
 * with two of them took seconds where one thread took a tenth. So the first chunk has one thread, and losers rest.
 */
export function chooseThreads(
  candidates: readonly number[],
  speeds: ReadonlyMap<number, ThreadSpeed>,
  chunk: number,
): number {
  const isDue = (threads: number) => {
    const known = speeds.get(threads);
    return known === undefined || chunk - known.chunk > firstRematchChunks * 2 ** Math.min(known.losses, mostLosses);
  };
  return candidates.find(isDue) ?? fastest(candidates, speeds);
}

function fastest(candidates: readonly number[], speeds: ReadonlyMap<number, ThreadSpeed>): number {
  const speedOf = (threads: number) => speeds.get(threads)?.tokensPerMs ?? 0;
  return candidates.reduce((best, threads) => (speedOf(threads) > speedOf(best) ? threads : best));
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
}): (sequence: ContextSequence, tokens: readonly Token[], signal: AbortSignal) => Promise<void> {
  const { llama, batchTokens } = options;
  const candidates = [...new Set([1, Math.ceil(options.threads / 2), options.threads])];
  const speeds = new Map<number, ThreadSpeed>();
  let chunk = 0;

  return async (sequence, tokens, signal) => {
    for (let start = 0; start < tokens.length;) {
      throwIfAborted(signal);
      const threads = chooseThreads(candidates, speeds, chunk);
      const known = speeds.get(threads);
      // Nobody knows yet how slow it is, so as few as tell it.
      const size = known ? chunkTokensAt(known.tokensPerMs, batchTokens) : smallestChunkTokens;
      const part = tokens.slice(start, start + size);
      llama.maxThreads = threads;
      const startedAt = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(part);
      start += part.length;
      if (part.length < smallestChunkTokens) continue;
      const tokensPerMs = part.length / Math.max(performance.now() - startedAt, 0.01);
      const before = speeds.get(threads)?.losses ?? 0;
      speeds.set(threads, { tokensPerMs, chunk, losses: 0 });
      if (fastest(candidates, speeds) !== threads) speeds.set(threads, { tokensPerMs, chunk, losses: before + 1 });
      chunk += 1;
    }
    throwIfAborted(signal);
  };
}
