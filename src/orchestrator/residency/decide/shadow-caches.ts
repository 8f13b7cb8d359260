import { chooseEviction } from "../../memory/eviction.ts";

/** What the policy knows about a model. */
export interface KnownModel {
  readonly sizeBytes: number;
  readonly loadSeconds: number;
  /** Whether `loadSeconds` was measured; else it is derived from the size. */
  readonly isMeasured: boolean;
  /** Share of the uses, 0 to 1, weighted towards recent ones; decays from `ratedAt` on. */
  readonly rate: number;
  /** Number of the use at which `rate` was last updated. */
  readonly ratedAt: number;
}

/**
 * The shadow cache of one simple policy: what would be resident if this policy decided, and what that would have cost.
 *
 * | name      | evicts                                                                                              |
 * |-----------|-----------------------------------------------------------------------------------------------------|
 * | `gdsf`    | the least credit: frequency while resident × load seconds ÷ bytes + the credit of the last eviction |
 * | `rate`    | the set with the least request rate × load seconds                                                  |
 * | `recency` | the least recently used; best when the working set changes, to which the others adapt too slowly    |
 *
 * `gdsf` is GreedyDual-Size-Frequency (Cherkasova 1998).
 */
export interface ShadowCache {
  readonly name: "gdsf" | "rate" | "recency";
  readonly resident: ReadonlyMap<string, Held>;
  /** Credit of the last eviction, which later entries start from, so that old credits fade. */
  readonly inflation: number;
  /** Seconds of reloading that it would have cost, exponentially decayed. */
  readonly costSeconds: number;
}

interface Held {
  readonly frequency: number;
  readonly credit: number;
}

/** One use of `key` as the shadow cache sees it. */
interface ShadowCacheUse {
  readonly key: string;
  /** The number of the use: the clock. */
  readonly at: number;
  readonly models: ReadonlyMap<string, KnownModel>;
  readonly capacityBytes: number;
  /** Decay factor of costs per use. */
  readonly decay: number;
  readonly rateOf: (model: KnownModel) => number;
}

export function createShadowCache(name: ShadowCache["name"]): ShadowCache {
  return { name, resident: new Map(), inflation: 0, costSeconds: 0 };
}

/**
 * Returns the shadow cache after the use: a missing model is loaded and paid for, and others are evicted if necessary.
 */
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

/** Credits are in seconds per MiB. */
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
  const chosen: string[] = [];
  let releasedBytes = 0;
  for (const { key, model } of known.toSorted((a, b) => a.credit - b.credit)) {
    if (releasedBytes >= missingBytes) break;
    chosen.push(key);
    releasedBytes += model.sizeBytes;
  }
  return chosen;
}

/** Losses are in seconds per this many uses, since `chooseEviction` compares whole milliseconds. */
export const lossScale = 100;
