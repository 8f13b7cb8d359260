import type { Log } from "../../log.ts";
import type { MemoryEstimate } from "../../types.ts";
import type { SimulatedBytes, SimulatedLoad } from "../engine.ts";
import {
  type CacheTypeName,
  cacheTypeNumbers,
  type EstimateDone,
  type EstimateRequest,
  type LoadRequest,
} from "./child/protocol.ts";
import { ChildFailure } from "./child/failure.ts";
import { ChildGone, type ChildSession, withinLimit } from "./child-session.ts";
import { createComputeGate } from "./compute-gate.ts";
import { readProcessMemory } from "./process-facts.ts";

export interface Estimator {
  /** Undefined when llama.cpp can't simulate this file. */
  estimate(digest: string, request: LoadRequest, signal: AbortSignal): Promise<MemoryEstimate | undefined>;
  /** llama.cpp's buffers alone, for a load that another engine would make. */
  simulate(digest: string, file: string, load: SimulatedLoad, signal: AbortSignal): Promise<SimulatedBytes | undefined>;
}

const limitMs = 30_000;
/** For a load of another engine, which the formula predicts too: not worth a long wait. */
const foreignLimitMs = 10_000;
/** Node with llama.cpp and no model: measured with 3.21.1 on Linux, for systems that don't report a process's memory. */
const usualBaseBytes = 88 * 1024 ** 2;
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
  const estimates = new Map<string, MemoryEstimate | undefined>();
  const simulations = new Map<string, SimulatedBytes | undefined>();
  const gate = createComputeGate(parts.now);

  /** Asks a fresh process; `read` sees the process before it is gone. */
  async function inProcess<Result>(
    request: EstimateRequest,
    patienceMs: number,
    signal: AbortSignal,
    read: (session: ChildSession, ask: () => Promise<EstimateDone>) => Promise<Result>,
  ): Promise<Result> {
    const session = await parts.open(signal);
    try {
      return await read(session, () =>
        withinLimit(
          session.call(request, () => undefined, signal),
          patienceMs,
          `no estimate within ${patienceMs / 1_000} s`,
          signal,
          session.stop,
        ),
      );
    } finally {
      await session.stop();
    }
  }

  /** A file that can't be simulated isn't tried again. */
  const once = <Result>(
    known: Map<string, Result | undefined>,
    key: string,
    file: string,
    signal: AbortSignal,
    make: () => Promise<Result>,
  ): Promise<Result | undefined> =>
    gate.run(signal, async () => {
      if (known.has(key)) return known.get(key);
      try {
        const made = await make();
        known.set(key, made);
        return made;
      } catch (error) {
        if (!(error instanceof ChildFailure || error instanceof ChildGone)) throw error;
        parts.log.warn(`the memory of ${file} could not be simulated: ${error.message}`);
        known.set(key, undefined);
        return undefined;
      }
    });

  return {
    estimate(digest, load, signal) {
      const { file, useMmap, contextTokens, isEmbedding } = load;
      // Embeddings are computed over a whole context at once.
      const batchTokens = isEmbedding ? contextTokens : Math.min(load.batchTokens, contextTokens);
      const shape = { contextTokens, sequences: 1, batchTokens, isEmbedding };
      const request = { type: "estimate", file, useMmap, ...shape, withVocabulary: true } as const;
      const key = `${digest} ${contextTokens} ${useMmap}`;
      return once(estimates, key, file, signal, () =>
        inProcess(request, limitMs, signal, async (session, ask) => {
          const base = await readProcessMemory(session.pid);
          const done = await ask();
          const otherBytes = (done.vocabularyBytes ?? 0) + generationBytes;
          const baseBytes = base ? base.anonymousBytes + base.mappedBytes : usualBaseBytes;
          return toEstimate(done, contextTokens, otherBytes, baseBytes);
        }),
      );
    },
    async simulate(digest, file, load, signal) {
      const { contextTokens, parallel, batchTokens, cacheType, hasFlashAttention, isEmbedding } = load;
      if (!isCacheType(cacheType)) return undefined;
      const shape = { contextTokens, sequences: parallel, batchTokens, isEmbedding, cacheType, hasFlashAttention };
      const request = { type: "estimate", file, useMmap: false, ...shape, withVocabulary: false } as const;
      const key = `${digest} ${JSON.stringify(shape)}`;
      return await once(simulations, key, file, signal, () =>
        inProcess(request, foreignLimitMs, signal, async (_, ask) => {
          const done = await ask();
          return { weightsBytes: done.weightsBytes, ...splitContext(done, contextTokens) };
        }),
      );
    },
  };
}

const isCacheType = (name: string): name is CacheTypeName => Object.hasOwn(cacheTypeNumbers, name);

/** Beside llama.cpp's own buffers a process grows by what its allocator keeps: up to 4.3 % of SmolLM2 were seen. */
export const simulatedMargin = 0.05;

function toEstimate(
  done: EstimateDone,
  contextTokens: number,
  otherBytes: number,
  processBytes: number,
): MemoryEstimate {
  const { weightsBytes, contextBytes } = done;
  return {
    method: "simulated",
    predictedBytes: weightsBytes + contextBytes + otherBytes,
    margin: simulatedMargin,
    parts: { weightsBytes, ...splitContext(done, contextTokens), otherBytes },
    processBytes,
  };
}

/** The cache grows with the context and compute hardly does, so the difference of two contexts tells them apart. */
function splitContext(
  { contextBytes, smallestContextBytes, smallestContextTokens }: EstimateDone,
  contextTokens: number,
): { readonly cacheBytes: number; readonly computeBytes: number } {
  const moreTokens = contextTokens - smallestContextTokens;
  const perToken = moreTokens > 0 ? (contextBytes - smallestContextBytes) / moreTokens : 0;
  const cacheBytes = Math.min(contextBytes, Math.max(0, Math.round(perToken * contextTokens)));
  return { cacheBytes, computeBytes: contextBytes - cacheBytes };
}
