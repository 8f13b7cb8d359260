import * as z from "zod";
import type { MemoryEstimate } from "../api/facade-status.ts";
import { type LoadShape, cacheTypes } from "../api/types.ts";
import { type ComputeObservation, cacheBytes, fullCacheBytes, stateBytes, computeBytes } from "./compute.ts";
import { defined } from "../util/values.ts";
import type { ModelDimensions } from "./dimensions.ts";
import type { WeightBytes } from "./predict.ts";

/** Derives the compute buffer from a size that an engine reported; the rest of the prediction is taken as exact. */
export function computeObservation(
  model: ModelDimensions,
  load: LoadShape,
  { weightsBytes, otherBytes = 0 }: WeightBytes,
  reportedBytes: number,
): ComputeObservation {
  return {
    observedBytes: reportedBytes - weightsBytes - otherBytes - cacheBytes(model, load) - stateBytes(model, load),
    batchBytes: computeBytes(model, load, "batch"),
    sequencesBytes: computeBytes(model, load, "sequences"),
  };
}

/**
 * Completes a size that an engine reported. Ollama parses the log of its runner and keeps one line of each kind, so for
 * a model with sliding layers it counts only their cache (observed with 0.33: Gemma 3 270M at 8,192 tokens is reported
 * 24 MiB too small). Whether the other cache is missing follows from the remaining compute buffer: of the two readings,
 * the one that is closer to the formula is returned.
 */
export function completeReading(
  model: ModelDimensions,
  load: LoadShape,
  weights: WeightBytes,
  reportedBytes: number,
): number {
  const fullBytes = fullCacheBytes(model, load);
  if (fullBytes === 0 || fullBytes === cacheBytes(model, load)) return reportedBytes;
  const distance = (bytes: number): number => {
    const { observedBytes, batchBytes, sequencesBytes } = computeObservation(model, load, weights, bytes);
    if (observedBytes <= 0) return Number.POSITIVE_INFINITY;
    return Math.min(...[batchBytes, sequencesBytes].map((formula) => Math.abs(Math.log(observedBytes / formula))));
  };
  const completed = reportedBytes + fullBytes;
  return distance(completed) < distance(reportedBytes) ? completed : reportedBytes;
}

/** The default context: enough for a question about a page or two. */
export const defaultContextTokens = 4096;

/**
 * The context to load a model with, in tokens: the requested size rounded up to a power of two (so that similar
 * requests share one load), at most the model's own window.
 */
export function canonicalContext(ask: {
  /** Undefined: `defaultContextTokens`. */
  readonly atLeastTokens: number | undefined;
  readonly windowTokens?: number | undefined;
}): number {
  const wanted = Math.max(ask.atLeastTokens ?? defaultContextTokens, 256);
  const rounded = 2 ** Math.ceil(Math.log2(wanted));
  return ask.windowTokens === undefined ? rounded : Math.min(rounded, ask.windowTokens);
}

const byteCount = z.number().min(0);

/** The size that an engine reported for a load. */
export const learnedReading = z.object({
  /** Engine and address: sizes differ between hosts. */
  host: z.string(),
  /** Version of the engine: sizes differ between versions. */
  version: z.string(),
  digest: z.string(),
  contextTokens: z.int().positive(),
  parallel: z.int().positive(),
  cacheType: z.enum(cacheTypes),
  sizeBytes: byteCount,
  /** The part of `sizeBytes` on graphics cards. */
  vramBytes: byteCount,
  /** The derived compute buffer, for when the model's metadata is no longer available. The remaining bytes may be negative. */
  compute: z.object({ observedBytes: z.number(), batchBytes: byteCount, sequencesBytes: byteCount }).exactOptional(),
});
export type LearnedReading = z.output<typeof learnedReading>;

/** Identifies a load for learned sizes. */
type LoadKey = Omit<LearnedReading, "sizeBytes" | "vramBytes" | "compute">;

/** The oldest readings are dropped beyond this: enough for a hundred models at several contexts each. */
export const maxReadings = 512;

export function nameOfLoad({ host, version, digest, contextTokens, parallel, cacheType }: LoadKey): string {
  return JSON.stringify([host, version, digest, contextTokens, parallel, cacheType]);
}

export function createLearnedSizes() {
  const sizes = new Map<string, LearnedReading>();
  return {
    /** Returns whether the reading differs from the last one. */
    observe(reading: LearnedReading) {
      if (reading.sizeBytes <= 0) return false;
      const name = nameOfLoad(reading);
      const before = sizes.get(name);
      sizes.delete(name);
      // The derived compute buffer stays valid while the size is the same.
      const compute = reading.compute ?? (before?.sizeBytes === reading.sizeBytes ? before.compute : undefined);
      sizes.set(name, { ...reading, ...defined({ compute }) });
      for (const oldest of sizes.keys()) {
        if (sizes.size <= maxReadings) break;
        sizes.delete(oldest);
      }
      const isSame =
        before?.sizeBytes === reading.sizeBytes &&
        before.vramBytes === reading.vramBytes &&
        (before.compute !== undefined || compute === undefined);
      return !isSame;
    },
    /** Undefined if there is no reading of that load on this version. */
    find: (key: LoadKey) => sizes.get(nameOfLoad(key)),
    /** Whether there is any reading of that host, on any version. */
    hasReadings: (host: string) => [...sizes.values()].some((reading) => reading.host === host),
    /** All readings of a host and version, oldest first. */
    readings: (host: string, version: string) =>
      [...sizes.values()].filter((reading) => reading.host === host && reading.version === version),
  };
}

/** Repeated loads differ at most by alignment: the engine reports its real buffers. */
const learnedMargin = 0.01;

/**
 * The estimate from a learned size. `computed` provides the parts if given; the difference to the learned sum is
 * assigned to the compute buffer, the part that differs between engine builds.
 */
export function learnedEstimate(
  { sizeBytes, vramBytes }: Pick<LearnedReading, "sizeBytes" | "vramBytes">,
  computed: MemoryEstimate | undefined,
): MemoryEstimate {
  const base = {
    method: "learned",
    predictedBytes: sizeBytes,
    margin: learnedMargin,
    vramShare: Math.min(1, vramBytes / sizeBytes),
  } as const;
  if (computed?.parts === undefined) return { ...base, processBytes: computed?.processBytes ?? 0 };
  const bytes = computed.parts.computeBytes + sizeBytes - computed.predictedBytes;
  return {
    ...base,
    processBytes: computed.processBytes,
    ...(bytes < 0 ? {} : { parts: { ...computed.parts, computeBytes: bytes } }),
  };
}
