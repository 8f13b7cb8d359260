import type { MemoryEstimate } from "../types.ts";

/** Which load a reading belongs to. */
export interface LoadKey {
  /** Engine and address: sizes of one host say nothing of another. */
  readonly host: string;
  readonly digest: string;
  readonly contextTokens: number;
  readonly parallel: number;
}

/** The last size that was reported of each load, for as long as this program runs. */
export interface LearnedSizes {
  /** `version`: of the engine that reported it; another one may take another size. */
  observe(key: LoadKey, version: string, sizeBytes: number): void;
  /** Undefined when that load was never seen on this version. */
  find(key: LoadKey, version: string): number | undefined;
  /** Whether anything was seen on that host, on whatever version. */
  isSome(host: string): boolean;
  /** Everything seen on one host and version, oldest first. */
  readings(host: string, version: string): readonly (LoadKey & { readonly sizeBytes: number })[];
}

const mostReadings = 512;

export function createLearnedSizes(): LearnedSizes {
  const sizes = new Map<string, LoadKey & { readonly version: string; readonly sizeBytes: number }>();
  const nameOf = ({ host, digest, contextTokens, parallel }: LoadKey, version: string): string =>
    JSON.stringify([host, version, digest, contextTokens, parallel]);
  return {
    observe(key, version, sizeBytes) {
      if (sizeBytes <= 0) return;
      const name = nameOf(key, version);
      sizes.delete(name);
      sizes.set(name, { ...key, version, sizeBytes });
      for (const oldest of sizes.keys()) {
        if (sizes.size <= mostReadings) break;
        sizes.delete(oldest);
      }
    },
    find: (key, version) => sizes.get(nameOf(key, version))?.sizeBytes,
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
export function learnedEstimate(sizeBytes: number, computed: MemoryEstimate | undefined): MemoryEstimate {
  const base = { method: "learned", predictedBytes: sizeBytes, margin: learnedMargin } as const;
  if (computed?.parts === undefined) return { ...base, processBytes: computed?.processBytes ?? 0 };
  const computeBytes = computed.parts.computeBytes + sizeBytes - computed.predictedBytes;
  return {
    ...base,
    processBytes: computed.processBytes,
    ...(computeBytes < 0 ? {} : { parts: { ...computed.parts, computeBytes } }),
  };
}
