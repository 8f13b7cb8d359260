import { createShadowCache, type ShadowCache, shadowCacheAfter, type KnownModel, lossScale } from "./shadow-caches.ts";

/** A request that a model serves, as input of the policy. */
export interface ModelUse {
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
  shadowCaches: [createShadowCache("rate"), createShadowCache("gdsf"), createShadowCache("recency")],
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
    shadowCacheAfter(cache, { key, at, models, capacityBytes, decay, rateOf: (model) => decayed(model, at) }),
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

/** One policy per memory domain. */
export type EvictionPolicy = ReturnType<typeof createEvictionPolicy>;

export function createEvictionPolicy() {
  let state = initialPolicy;
  return {
    /** Call once per request, when its model starts serving. Not for pinned models, which can't be evicted. */
    used: (use: ModelUse) => void (state = policyAfter(state, use)),
    /**
     * `expectedLossSeconds` by key. `next`, the model that a load is planned for, counts as used already: what the shadow
     * caches evict for it must be known before the load evicts. Its size is used if the policy knows none.
     */
    expectedLosses(next?: ModelUse): (key: string) => number | undefined {
      const then =
        next === undefined
          ? state
          : policyAfter(state, { ...next, sizeBytes: state.models.get(next.key)?.sizeBytes ?? next.sizeBytes });
      return (key) => expectedLossSeconds(then, key);
    },
    forget: (key: string) => void (state = policyWithout(state, key)),
    /** Name of the leading shadow cache. */
    leader: (): ShadowCache["name"] => state.leader,
  };
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
