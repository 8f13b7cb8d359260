import type { CacheType, MemoryEstimate } from "../types.ts";
import type { ComputeObservation } from "./calibration.ts";

/** Which load a reading belongs to. */
export interface LoadKey {
  /** Engine and address: sizes of one host say nothing of another. */
  readonly host: string;
  /** Of the engine that reported it; another one may take another size. */
  readonly version: string;
  readonly digest: string;
  readonly contextTokens: number;
  readonly parallel: number;
  readonly cacheType: CacheType;
}

/** What an engine reported of one load. */
export interface LearnedSize {
  readonly sizeBytes: number;
  /** The part of it on graphics cards. */
  readonly vramBytes: number;
  /** What it said of the compute buffer, for when the model's metadata isn't at hand any more. */
  readonly compute?: ComputeObservation;
}

export type LearnedReading = LoadKey & LearnedSize;

/** The last size that was reported of each load. */
export interface LearnedSizes {
  /** Answers whether that is anything new. */
  observe(reading: LearnedReading): boolean;
  /** Undefined when that load was never seen on this version. */
  find(key: LoadKey): LearnedSize | undefined;
  /** Whether anything was seen on that host, on whatever version. */
  isSome(host: string): boolean;
  /** Everything seen on one host and version, oldest first. */
  readings(host: string, version: string): readonly LearnedReading[];
}

/** Oldest go first; the last ones of some hundred models at a few contexts each. */
export const mostReadings = 512;

export function nameOfLoad({ host, version, digest, contextTokens, parallel, cacheType }: LoadKey): string {
  return JSON.stringify([host, version, digest, contextTokens, parallel, cacheType]);
}

export function createLearnedSizes(): LearnedSizes {
  const sizes = new Map<string, LearnedReading>();
  return {
    observe(reading) {
      if (reading.sizeBytes <= 0) return false;
      const name = nameOfLoad(reading);
      const before = sizes.get(name);
      sizes.delete(name);
      // What was understood of it once stays understood.
      const compute = reading.compute ?? (before?.sizeBytes === reading.sizeBytes ? before.compute : undefined);
      sizes.set(name, { ...reading, ...(compute === undefined ? {} : { compute }) });
      for (const oldest of sizes.keys()) {
        if (sizes.size <= mostReadings) break;
        sizes.delete(oldest);
      }
      const isSame =
        before?.sizeBytes === reading.sizeBytes &&
        before.vramBytes === reading.vramBytes &&
        (before.compute !== undefined || compute === undefined);
      return !isSame;
    },
    find: (key) => sizes.get(nameOfLoad(key)),
    isSome: (host) => [...sizes.values()].some((reading) => reading.host === host),
    readings: (host, version) =>
      [...sizes.values()].filter((reading) => reading.host === host && reading.version === version),
  };
}

/** The same load takes the same again: an engine reports its real buffers, which move by alignment at most. */
const learnedMargin = 0.01;

/**
 * The learned tier. `computed`, where there is one, tells the parts apart: the reading goes before it in sum, so the
 * difference is put on the compute buffer, the part that engine builds disagree on.
 */
export function learnedEstimate(
  { sizeBytes, vramBytes }: LearnedSize,
  computed: MemoryEstimate | undefined,
): MemoryEstimate {
  const base = {
    method: "learned",
    predictedBytes: sizeBytes,
    margin: learnedMargin,
    vramShare: Math.min(1, vramBytes / sizeBytes),
  } as const;
  if (computed?.parts === undefined) return { ...base, processBytes: computed?.processBytes ?? 0 };
  const computeBytes = computed.parts.computeBytes + sizeBytes - computed.predictedBytes;
  return {
    ...base,
    processBytes: computed.processBytes,
    ...(computeBytes < 0 ? {} : { parts: { ...computed.parts, computeBytes } }),
  };
}
