import type { Log } from "../../log.ts";
import type { MemoryEstimate } from "../../types.ts";
import type { EstimateDone, LoadRequest } from "./child/protocol.ts";
import { ChildFailure } from "./child/failure.ts";
import { ChildGone, type ChildSession, withinLimit } from "./child-session.ts";
import { createComputeGate } from "./compute-gate.ts";
import { readProcessMemory } from "./process-facts.ts";

export interface Estimator {
  /** Undefined when llama.cpp can't simulate this file. */
  estimate(digest: string, request: LoadRequest, signal: AbortSignal): Promise<MemoryEstimate | undefined>;
}

const limitMs = 30_000;
/** Measured with 3.21.1 on Linux, for systems that don't tell a process's anonymous memory. */
const usualBaseBytes = 32 * 1024 ** 2;
/** What the first generations add to any model (template, samplers, JavaScript's heap): 6 to 10 MB with SmolLM2. */
const generationBytes = 8 * 1024 ** 2;

/**
 * Simulates loads, each in a process of its own that lives for a second: damaged files kill or hang it, and its growth
 * is what the model takes beside llama.cpp's buffers. One at a time, remembered by digest and load options.
 */
export function createEstimator(parts: {
  readonly open: (signal: AbortSignal) => Promise<ChildSession>;
  readonly now: () => number;
  readonly log: Log;
}): Estimator {
  const known = new Map<string, MemoryEstimate | undefined>();
  const gate = createComputeGate(parts.now);

  async function simulate(request: LoadRequest, signal: AbortSignal): Promise<MemoryEstimate> {
    const { file, useMmap, contextTokens, sequences, batchTokens, isEmbedding } = request;
    const session = await parts.open(signal);
    try {
      const base = await readProcessMemory(session.pid);
      const done = await withinLimit(
        session.call(
          { type: "estimate", file, useMmap, contextTokens, sequences, batchTokens, isEmbedding },
          () => undefined,
          signal,
        ),
        limitMs,
        `no estimate within ${limitMs / 1_000} s`,
        signal,
        session.stop,
      );
      const grown = await readProcessMemory(session.pid);
      const grownBytes = base && grown ? Math.max(0, grown.anonymousBytes - base.anonymousBytes) : 0;
      const otherBytes = grownBytes + generationBytes;
      return toEstimate(done, request, otherBytes, base?.anonymousBytes ?? usualBaseBytes);
    } finally {
      await session.stop();
    }
  }

  return {
    estimate: (digest, request, signal) =>
      gate.run(signal, async () => {
        const key = `${digest} ${request.contextTokens} ${request.sequences} ${request.useMmap}`;
        if (known.has(key)) return known.get(key);
        try {
          const estimate = await simulate(request, signal);
          known.set(key, estimate);
          return estimate;
        } catch (error) {
          if (!(error instanceof ChildFailure || error instanceof ChildGone)) throw error;
          parts.log.warn(`the memory of ${request.file} could not be simulated: ${error.message}`);
          known.set(key, undefined);
          return undefined;
        }
      }),
  };
}

/** Beside llama.cpp's own buffers a process grows by what its allocator keeps: up to 4.3 % of SmolLM2 were seen. */
export const simulatedMargin = 0.05;

function toEstimate(
  done: EstimateDone,
  request: LoadRequest,
  otherBytes: number,
  processBytes: number,
): MemoryEstimate {
  const { weightsBytes, contextBytes, smallestContextBytes, smallestContextTokens } = done;
  // The cache grows with the context and compute hardly does, so the difference of two contexts tells them apart.
  const moreTokens = request.contextTokens - smallestContextTokens;
  const perToken = moreTokens > 0 ? (contextBytes - smallestContextBytes) / moreTokens : 0;
  const cacheBytes = Math.min(contextBytes, Math.max(0, Math.round(perToken * request.contextTokens)));
  return {
    method: "simulated",
    predictedBytes: weightsBytes + contextBytes + otherBytes,
    margin: simulatedMargin,
    parts: { weightsBytes, cacheBytes, computeBytes: contextBytes - cacheBytes, otherBytes },
    processBytes,
  };
}
