import { chooseEviction } from "../../memory/eviction.ts";

/** A request that a model serves, as input of the policy. */
interface ModelUse {
  readonly key: string;
  /** All that the model occupies. */
  readonly sizeBytes: number;
  /** Measured load time; if absent, derived from the size at the speed of the measured models. */
  readonly loadSeconds?: number;
  /** Memory that all evictable models share: what is free, plus what unloading all of them would free. */
  readonly capacityBytes: number;
}

/** The immutable state of a policy; `policyAfter` returns the next one. */
interface PolicyState {
  /** The policy's clock: number of uses so far, without repeated uses of the same model. */
  readonly uses: number;
  readonly lastKey?: string;
  readonly models: ReadonlyMap<string, KnownModel>;
  readonly shadowCaches: readonly ShadowCache[];
  /** The shadow cache that evictions follow. */
  readonly leader: ShadowCache["name"];
}

/** Half-life in uses, for the rates and for the costs of the shadow caches. */
const halfLife = 120;
const decay = 0.5 ** (1 / halfLife);
/**
 * Another shadow cache becomes the leader if its cost is below this share of the leader's, so that similar ones don't
 * alternate.
 */
const hysteresis = 0.95;
/** Load speed before any load was measured. Only the order of models matters, which is the same at any speed. */
const assumedBytesPerSecond = 1e9;
/** Models below this rate that no shadow cache holds are forgotten, which bounds the state. */
const forgottenRate = 1e-5;

export const initialPolicy: PolicyState = {
  uses: 0,
  models: new Map(),
  shadowCaches: (["rate", "gdsf", "recency"] as const).map((name) => ({
    name,
    resident: new Map(),
    inflation: 0,
    costSeconds: 0,
  })),
  // The best single policy, until the costs differ.
  leader: "rate",
};

/**
 * Returns the policy after a use. Each simple policy runs on a shadow cache
 * (`docs/decisions/0017-eviction-by-shadow-caches.md`); the one with the least decayed reload cost is the leader, with
 * a small hysteresis. Repeated uses of the same model are ignored, since nothing could be evicted in between. The only
 * clock is the number of uses: idle nights, sleep and clock changes have no effect.
 */
export function policyAfter(state: PolicyState, use: ModelUse): PolicyState {
  const { key, capacityBytes } = use;
  const loadSeconds = use.loadSeconds ?? derivedLoadSeconds(state, use.sizeBytes);
  const known = state.models.get(key);
  const isRepeat = key === state.lastKey;
  const at = isRepeat ? state.uses : state.uses + 1;
  const rate = (known === undefined ? 0 : decayed(known, at)) + (isRepeat ? 0 : 1 - decay);
  const models = new Map(state.models).set(key, {
    sizeBytes: use.sizeBytes,
    loadSeconds,
    isMeasured: use.loadSeconds !== undefined,
    rate,
    ratedAt: at,
  });
  if (isRepeat && known?.sizeBytes === use.sizeBytes) return { ...state, models };

  const shadowCaches = state.shadowCaches.map((cache) =>
    shadowCacheAfter(cache, { key, at, models, capacityBytes, rateOf: (model) => decayed(model, at) }),
  );
  for (const [name, model] of models) {
    if (decayed(model, at) < forgottenRate && !shadowCaches.some(({ resident }) => resident.has(name)))
      models.delete(name);
  }
  return { uses: at, lastKey: key, models, shadowCaches, leader: leaderOf(shadowCaches, state.leader) };
}

/**
 * The expected cost of evicting the model, in seconds of reloading per hundred uses: its rate × its load time. If the
 * leading shadow cache holds it, a rate of 1 is added, so that it is evicted last. Undefined for a model that was never
 * used. `chooseEviction` depends on the proportions only.
 */
export function expectedLossSeconds(state: PolicyState, key: string): number | undefined {
  const model = state.models.get(key);
  if (model === undefined) return undefined;
  // Corrects for the short history at the start.
  const rate = decayed(model, state.uses) / (1 - decay ** Math.max(1, state.uses));
  const isHeld = state.shadowCaches.some(({ name, resident }) => name === state.leader && resident.has(key));
  return (rate + Number(isHeld)) * model.loadSeconds * lossScale;
}

/** Returns the policy without the model, which was deleted or has other weights now. */
export function policyWithout(state: PolicyState, key: string): PolicyState {
  const without = <Value>(map: ReadonlyMap<string, Value>) => new Map([...map].filter(([name]) => name !== key));
  const shadowCaches = state.shadowCaches.map((cache) => ({ ...cache, resident: without(cache.resident) }));
  const { lastKey, ...rest } = state;
  const models = without(state.models);
  return { ...rest, ...(lastKey === undefined || lastKey === key ? {} : { lastKey }), models, shadowCaches };
}

function decayed(model: KnownModel, at: number): number {
  return model.rate * decay ** (at - model.ratedAt);
}

function derivedLoadSeconds(state: PolicyState, sizeBytes: number): number {
  let [bytes, seconds] = [0, 0];
  for (const model of state.models.values()) {
    if (!model.isMeasured) continue;
    bytes += model.sizeBytes;
    seconds += model.loadSeconds;
  }
  return bytes > 0 && seconds > 0 ? (sizeBytes * seconds) / bytes : sizeBytes / assumedBytesPerSecond;
}

function leaderOf(shadowCaches: readonly ShadowCache[], leader: ShadowCache["name"]): ShadowCache["name"] {
  const present = shadowCaches.find(({ name }) => name === leader);
  const cheapest = shadowCaches.reduce((best, cache) => (cache.costSeconds < best.costSeconds ? cache : best));
  return present === undefined || cheapest.costSeconds < present.costSeconds * hysteresis ? cheapest.name : leader;
}

/** What the policy knows about a model. */
interface KnownModel {
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
interface ShadowCache {
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
  readonly rateOf: (model: KnownModel) => number;
}

/**
 * Returns the shadow cache after the use: a missing model is loaded and paid for, and others are evicted if necessary.
 */
function shadowCacheAfter(cache: ShadowCache, use: ShadowCacheUse): ShadowCache {
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
  return { name: cache.name, resident, inflation, costSeconds: cache.costSeconds * decay + paid };
}

/** Credits are in seconds per MiB. */
const bytesPerCredit = 1024 ** 2;

function victims(cache: ShadowCache, resident: ReadonlyMap<string, Held>, missingBytes: number, use: ShadowCacheUse) {
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
const lossScale = 100;
