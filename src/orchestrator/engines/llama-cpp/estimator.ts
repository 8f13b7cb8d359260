import { mkdir } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname } from "node:path";
import * as z from "zod";
import { CardFailed } from "../../api/errors.ts";
import type { Log } from "../../api/log.ts";
import type { MemoryEstimate } from "../../api/facade-status.ts";
import type { SimulatedLoad } from "../engine.ts";
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
import { replaceFile, readRegularText } from "../../storage/replace-file.ts";
import { defined, parseJson } from "../../util/values.ts";
import { engineVersion } from "./install/platform.ts";

const limitMs = 30_000;
/** For a load by another engine: shorter, because the formula predicts it, too. */
const foreignLimitMs = 10_000;
/** Memory of Node with llama.cpp and no model, measured with 3.21.1 on Linux; for systems that don't report it. */
const usualBaseBytes = 88 * 1024 ** 2;
/** Memory added by the first generations (template, samplers, JavaScript's heap): 6 to 10 MB with SmolLM2. */
const generationBytes = 8 * 1024 ** 2;

const simulatedSchema = z.object({
  done: z.object({
    weightsBytes: z.number(),
    contextBytes: z.number(),
    smallestContextBytes: z.number(),
    smallestContextTokens: z.number(),
    vocabularyBytes: z.number().exactOptional(),
  }),
  /** Memory of the process before. */
  baseBytes: z.number(),
});
/** So many simulations are kept, the latest ones. */
const mostKept = 500;
const keptSchema = z.object({ machine: z.string(), entries: z.array(z.tuple([z.string(), simulatedSchema])) });
type Simulated = Omit<z.output<typeof simulatedSchema>, "done"> & { readonly done: EstimateDone };

/**
 * Simulates loads, one at a time, each in a short-lived process of its own: damaged files can crash or hang it, and its
 * growth is what the model takes besides llama.cpp's buffers. Results are kept by digest and load options, without cards
 * also on disk.
 */
export function createEstimator(parts: {
  /** `usesCards`: throws `CardFailed` if they don't start. */
  readonly open: (signal: AbortSignal, usesCards: boolean) => Promise<ChildSession>;
  readonly mayUseCards: () => boolean;
  readonly now: () => number;
  readonly log: Log;
  /** Absolute path; it may not exist. */
  readonly file: string;
}) {
  /** `undefined`: llama.cpp can't simulate it. */
  const known = new Map<string, Simulated | undefined>();
  const gate = new ComputeGate(parts.now);
  const machine = [engineVersion, process.version, process.arch, cpus()[0]?.model.trim()].join(" ");
  let reading: Promise<void> | undefined;

  async function readKept(): Promise<void> {
    try {
      const kept = keptSchema.parse(parseJson(await readRegularText(parts.file)));
      if (kept.machine === machine) for (const [key, each] of kept.entries) known.set(key, each);
    } catch {
      // Simulated again.
    }
  }

  /** What can't be written is simulated again. */
  async function keep(): Promise<void> {
    const entries = [...known].filter(([, each]) => each !== undefined && each.done.byLayers === undefined);
    await mkdir(dirname(parts.file), { recursive: true, mode: 0o700 }).catch(() => undefined);
    const text = `${JSON.stringify({ machine, entries: entries.slice(-mostKept) })}\n`;
    await replaceFile(parts.file, text, { mode: 0o600 }).catch(() => undefined);
  }

  async function inProcess(bare: EstimateRequest, timeoutMs: number, signal: AbortSignal, isForCards: boolean) {
    const onCards = isForCards ? await parts.open(signal, true).catch(unlessCardFailed) : undefined;
    const session = onCards ?? (await parts.open(signal, false));
    const request = onCards === undefined ? bare : { ...bare, isForCards };
    try {
      const base = await readProcessMemory(session.pid);
      const done = await withinLimit(
        session.call(request, () => undefined, signal),
        timeoutMs,
        `no estimate within ${timeoutMs / 1_000} s`,
        signal,
        session.stop,
      );
      return { done, baseBytes: base ? base.anonymousBytes + base.mappedBytes : usualBaseBytes };
    } finally {
      await session.stop();
    }
  }

  function simulated(
    digest: string,
    { file, ...shape }: EstimateRequest,
    timeoutMs: number,
    signal: AbortSignal,
    isForCards = false,
  ): Promise<Simulated | undefined> {
    const keyOf = (isOnCards: boolean) => JSON.stringify([digest, shape, isOnCards]);
    const key = keyOf(isForCards);
    return gate.run(signal, async () => {
      await (reading ??= readKept());
      if (known.has(key)) return known.get(key);
      try {
        const found = await inProcess({ file, ...shape }, timeoutMs, signal, isForCards);
        // Cards that failed just now may work the next time.
        const isOnCards = found.done.byLayers !== undefined;
        known.set(keyOf(isOnCards), found);
        if (!isOnCards) await keep();
        return found;
      } catch (error) {
        if (!(error instanceof ChildFailure || error instanceof ChildGone)) throw error;
        parts.log.warn(`engine: could not simulate the load of ${file}: ${error.message}`);
        known.set(key, undefined);
      }
      return known.get(key);
    });
  }

  return {
    /** Returns undefined when llama.cpp can't simulate this file. */
    async estimate(digest: string, load: LoadRequest, signal: AbortSignal) {
      const { file, useMmap, contextTokens, isEmbedding } = load;
      // Embeddings are evaluated over a whole context at once.
      const batchTokens = isEmbedding ? contextTokens : Math.min(load.batchTokens, contextTokens);
      const shape = { contextTokens, sequences: 1, batchTokens, isEmbedding };
      const request = { type: "estimate", file, useMmap, ...shape, withVocabulary: true } as const;
      const found = await simulated(digest, request, limitMs, signal, parts.mayUseCards());
      if (found === undefined) return undefined;
      const guessBytes = isEmbedding ? 0 : load.guessBytes;
      const otherBytes = (found.done.vocabularyBytes ?? 0) + generationBytes + guessBytes;
      return toEstimate(found.done, contextTokens, otherBytes, found.baseBytes);
    },
    /** Returns the size of llama.cpp's buffers for a load by another engine. */
    async simulate(digest: string, file: string, load: SimulatedLoad, signal: AbortSignal) {
      const { contextTokens, parallel, batchTokens, cacheType, hasFlashAttention, isEmbedding } = load;
      if (!isCacheType(cacheType)) return undefined;
      const shape = { contextTokens, sequences: parallel, batchTokens, isEmbedding, cacheType, hasFlashAttention };
      const request = { type: "estimate", file, useMmap: false, ...shape, withVocabulary: false } as const;
      const found = await simulated(digest, request, foreignLimitMs, signal);
      return found && { weightsBytes: found.done.weightsBytes, ...splitContext(found.done, contextTokens) };
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
