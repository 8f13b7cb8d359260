import { chooseEviction } from "./eviction.ts";

/** What the policy knows of a model. */
export interface KnownModel {
  readonly sizeBytes: number;
  readonly loadSeconds: number;
  /** False: derived from the size. */
  readonly isMeasured: boolean;
  /** Share of the uses that were of it, 0–1, recent ones counting more; it decays from `ratedAt` on. */
  readonly rate: number;
  /** Number of the use at which `rate` was brought up to date. */
  readonly ratedAt: number;
}

/**
 * The shadow cache of one simple policy: what would be resident had it decided alone, and what that would have cost.
 *
 * | name      | gives up                                                                                              |
 * |-----------|-------------------------------------------------------------------------------------------------------|
 * | `gdsf`    | the least credit: frequency while resident × load seconds ÷ bytes, + the credit of the last to go     |
 * | `rate`    | the set with the least request rate × load seconds                                                    |
 * | `recency` | the least recently used; right when what is worked with changes, where the others hold on too long    |
 *
 * `gdsf` is GreedyDual-Size-Frequency (Cherkasova 1998).
 */
export interface ShadowCache {
  readonly name: "gdsf" | "rate" | "recency";
  readonly resident: ReadonlyMap<string, Held>;
  /** Credit of the last to go: what comes later starts from there, so that old merits fade. */
  readonly inflation: number;
  /** Reload seconds it would have cost, exponentially decayed. */
  readonly costSeconds: number;
}

interface Held {
  readonly frequency: number;
  readonly credit: number;
}

/** One use of `key` as the shadow cache sees it. */
export interface ShadowCacheUse {
  readonly key: string;
  /** The number of the use: the clock. */
  readonly at: number;
  readonly models: ReadonlyMap<string, KnownModel>;
  readonly capacityBytes: number;
  /** What a use later is worth of a second now: 0.5 after a half-life. */
  readonly decay: number;
  readonly rateOf: (model: KnownModel) => number;
}

export function createShadowCache(name: ShadowCache["name"]): ShadowCache {
  return { name, resident: new Map(), inflation: 0, costSeconds: 0 };
}

/** The shadow cache after the use: it loads what it lacks, pays for it, and gives up what has no room beside it. */
export function shadowCacheAfter(cache: ShadowCache, use: ShadowCacheUse): ShadowCache {
  const model = use.models.get(use.key);
  if (model === undefined) return cache;
  const held = cache.resident.get(use.key);
  const resident = new Map(cache.resident);
  resident.delete(use.key);
  const sizeOf = (key: string) => use.models.get(key)?.sizeBytes ?? 0;
  let missingBytes = model.sizeBytes - use.capacityBytes;
  for (const key of resident.keys()) missingBytes += sizeOf(key);

  let { inflation } = cache;
  for (const key of victims(cache, resident, missingBytes, use)) {
    inflation = Math.max(inflation, resident.get(key)?.credit ?? 0);
    resident.delete(key);
  }
  const frequency = (held?.frequency ?? 0) + 1;
  const credit =
    cache.name === "recency"
      ? use.at
      : inflation + (frequency * model.loadSeconds) / Math.max(1, model.sizeBytes / bytesPerCredit);
  resident.set(use.key, { frequency, credit });
  const paid = held === undefined ? model.loadSeconds : 0;
  return { name: cache.name, resident, inflation, costSeconds: cache.costSeconds * use.decay + paid };
}

/** Credits are seconds per MiB: any unit would do. */
const bytesPerCredit = 1024 ** 2;

function victims(
  cache: ShadowCache,
  resident: ReadonlyMap<string, Held>,
  missingBytes: number,
  use: ShadowCacheUse,
): readonly string[] {
  if (missingBytes <= 0) return [];
  const known = [...resident].flatMap(([key, { credit }]) => {
    const model = use.models.get(key);
    return model === undefined ? [] : [{ key, credit, model }];
  });
  if (cache.name === "rate") {
    const candidates = known.map(({ key, model }) => ({
      key,
      releasedBytes: model.sizeBytes,
      reloadSeconds: use.rateOf(model) * model.loadSeconds * lossScale,
      sizeBytes: model.sizeBytes,
      lastUsedMs: model.ratedAt,
      isForeign: false,
    }));
    return chooseEviction({ bytesToFree: missingBytes, candidates, smallModelBytes: 0 }) ?? [...resident.keys()];
  }
  const going: string[] = [];
  let releasedBytes = 0;
  for (const { key, model } of known.toSorted((a, b) => a.credit - b.credit)) {
    if (releasedBytes >= missingBytes) break;
    going.push(key);
    releasedBytes += model.sizeBytes;
  }
  return going;
}

/** Losses are told in seconds per so many uses: `chooseEviction` compares whole milliseconds. */
export const lossScale = 100;
