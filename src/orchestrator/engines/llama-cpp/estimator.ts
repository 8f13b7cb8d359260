import { CardFailed } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { MemoryEstimate } from "../../api/facade-status.ts";
import type { SimulatedBytes, SimulatedLoad } from "../engine.ts";
import { ChildGone, type ChildSession, withinLimit } from "./child-session.ts";
import { ChildFailure } from "./child/failure.ts";
import {
  type CacheTypeName,
  type EstimateDone,
  type EstimateRequest,
  type LoadRequest,
  cacheTypeNumbers,
} from "./child/protocol.ts";
import { readProcessMemory } from "./child/children-list.ts";
import { ComputeGate } from "./compute-gate.ts";
import { defined } from "../../util/defined.ts";

const limitMs = 30_000;
/** For a load by another engine: shorter, because the formula predicts it, too. */
const foreignLimitMs = 10_000;
/** Memory of Node with llama.cpp and no model, measured with 3.21.1 on Linux; for systems that don't report it. */
const usualBaseBytes = 88 * 1024 ** 2;
/** Memory added by the first generations (template, samplers, JavaScript's heap): 6 to 10 MB with SmolLM2. */
const generationBytes = 8 * 1024 ** 2;

/**
 * Simulates loads, one at a time, each in a short-lived process of its own: damaged files can crash or hang it, and its
 * growth is what the model takes besides llama.cpp's buffers. Results are cached by digest and load options.
 */
export function createEstimator(parts: {
  /** `usesCards`: throws `CardFailed` if they don't start. */
  readonly open: (signal: AbortSignal, usesCards: boolean) => Promise<ChildSession>;
  readonly mayUseCards: () => boolean;
  readonly now: () => number;
  readonly log: Log;
}) {
  const estimates = new Map<string, MemoryEstimate | undefined>();
  const simulations = new Map<string, SimulatedBytes | undefined>();
  const gate = new ComputeGate(parts.now);

  /** Runs `read` with a new process that can answer `request`. */
  async function inProcess<Result>(
    bare: EstimateRequest,
    timeoutMs: number,
    signal: AbortSignal,
    read: (session: ChildSession, ask: () => Promise<EstimateDone>) => Promise<Result>,
    isForCards = false,
  ): Promise<Result> {
    const onCards = isForCards ? await parts.open(signal, true).catch(unlessCardFailed) : undefined;
    const session = onCards ?? (await parts.open(signal, false));
    const request = onCards === undefined ? bare : { ...bare, isForCards };
    try {
      return await read(session, () =>
        withinLimit(
          session.call(request, () => undefined, signal),
          timeoutMs,
          `no estimate within ${timeoutMs / 1_000} s`,
          signal,
          session.stop,
        ),
      );
    } finally {
      await session.stop();
    }
  }

  /** Caches results, also the failure of a file that can't be simulated. */
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
        parts.log.warn(`engine: could not simulate the load of ${file}: ${error.message}`);
        known.set(key, undefined);
        return undefined;
      }
    });

  return {
    /** Returns undefined when llama.cpp can't simulate this file. */
    estimate(digest: string, load: LoadRequest, signal: AbortSignal) {
      const { file, useMmap, contextTokens, isEmbedding } = load;
      // Embeddings are evaluated over a whole context at once.
      const batchTokens = isEmbedding ? contextTokens : Math.min(load.batchTokens, contextTokens);
      const shape = { contextTokens, sequences: 1, batchTokens, isEmbedding };
      const request = { type: "estimate", file, useMmap, ...shape, withVocabulary: true } as const;
      const isForCards = parts.mayUseCards();
      const key = `${digest} ${contextTokens} ${useMmap} ${isForCards}`;
      return once(estimates, key, file, signal, () =>
        inProcess(
          request,
          limitMs,
          signal,
          async (session, ask) => {
            const base = await readProcessMemory(session.pid);
            const done = await ask();
            const otherBytes = (done.vocabularyBytes ?? 0) + generationBytes;
            const baseBytes = base ? base.anonymousBytes + base.mappedBytes : usualBaseBytes;
            return toEstimate(done, contextTokens, otherBytes, baseBytes);
          },
          isForCards,
        ),
      );
    },
    /** Returns the size of llama.cpp's buffers for a load by another engine. */
    async simulate(digest: string, file: string, load: SimulatedLoad, signal: AbortSignal) {
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

/** Memory that the process's allocator keeps besides llama.cpp's buffers: up to 4.3 % with SmolLM2. */
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
    ...defined({ byLayers: done.byLayers }),
  };
}

function unlessCardFailed(error: unknown): undefined {
  if (!(error instanceof CardFailed)) throw error;
}

/** Separates cache and compute by comparing two contexts: the cache grows with the context, compute hardly does. */
function splitContext(
  { contextBytes, smallestContextBytes, smallestContextTokens }: EstimateDone,
  contextTokens: number,
): { readonly cacheBytes: number; readonly computeBytes: number } {
  const moreTokens = contextTokens - smallestContextTokens;
  const perToken = moreTokens > 0 ? (contextBytes - smallestContextBytes) / moreTokens : 0;
  const cacheBytes = Math.min(contextBytes, Math.max(0, Math.round(perToken * contextTokens)));
  return { cacheBytes, computeBytes: contextBytes - cacheBytes };
}
