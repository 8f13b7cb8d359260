import { createShadowCache, type ShadowCache, shadowCacheAfter, type KnownModel, lossScale } from "./shadow-caches.ts";

/** A model served a request. */
export interface ModelUse {
  readonly key: string;
  /** Everything it occupies. */
  readonly sizeBytes: number;
  /** Learned load time; without one it is derived from the size, at the speed of the models that have one. */
  readonly loadSeconds?: number;
  /** What all models that may be evicted share: free for loads, plus what unloading every one of them would give. */
  readonly capacityBytes: number;
}

/** The value of a policy; `policyAfter` makes the next one. */
export interface PolicyState {
  /** Number of uses so far, those of the model that was used last not counted: the policy's clock. */
  readonly uses: number;
  readonly lastKey?: string;
  readonly models: ReadonlyMap<string, KnownModel>;
  readonly shadowCaches: readonly ShadowCache[];
  /** The shadow cache whose resident set is followed. */
  readonly leader: ShadowCache["name"];
}

/** Uses after which what was seen counts half, for rates and for the costs of the shadow caches alike. */
const halfLife = 120;
const decay = 0.5 ** (1 / halfLife);
/** Another shadow cache leads when its cost is below this part of the leader's: two that are alike don't take turns. */
const hysteresis = 0.95;
/** Where nothing was ever loaded. An SSD reads more; the order of models is the same at any speed. */
const assumedBytesPerSecond = 1e9;
/** A model that no shadow cache holds and whose rate is below this is forgotten, so that the state stays bounded. */
const forgottenRate = 1e-5;

export const initialPolicy: PolicyState = {
  uses: 0,
  models: new Map(),
  shadowCaches: [createShadowCache("rate"), createShadowCache("gdsf"), createShadowCache("recency")],
  // The best of the three on its own, until costs tell them apart.
  leader: "rate",
};

/**
 * The policy after a use. Each simple policy runs on a shadow cache (`docs/decisions/0017-eviction-by-shadow-caches.md`);
 * the one with the least decayed reload cost leads, with a small hysteresis. A second use of the same model in a row is
 * no news, since nothing could be evicted in between. The only clock is the number of uses: a night without work, a sleep,
 * or a clock that jumps change nothing.
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
 * Seconds of reloading that eviction is expected to cost, per hundred uses: its rate × its load time; and once more its
 * load time where the leading shadow cache holds it, as if every use were of it: those go last. Undefined for a model
 * that was not used. For `chooseEviction`, only the proportions count.
 */
export function expectedLossSeconds(state: PolicyState, key: string): number | undefined {
  const model = state.models.get(key);
  if (model === undefined) return undefined;
  // What came before the first use counts as nothing, not as uses of others.
  const rate = decayed(model, state.uses) / (1 - decay ** Math.max(1, state.uses));
  const isHeld = state.shadowCaches.some(({ name, resident }) => name === state.leader && resident.has(key));
  return (rate + Number(isHeld)) * model.loadSeconds * lossScale;
}

/** Without the model: it was deleted, or other weights carry its name now. */
export function policyWithout(state: PolicyState, key: string): PolicyState {
  const without = <Value>(map: ReadonlyMap<string, Value>) => new Map([...map].filter(([name]) => name !== key));
  const shadowCaches = state.shadowCaches.map((cache) => ({ ...cache, resident: without(cache.resident) }));
  const { lastKey, ...rest } = state;
  const models = without(state.models);
  return { ...rest, ...(lastKey === undefined || lastKey === key ? {} : { lastKey }), models, shadowCaches };
}

/** One policy per memory domain. */
export interface EvictionPolicy {
  /** Call when a model begins to serve, once a request. Pinned models are left out: they can't be evicted. */
  used(use: ModelUse): void;
  /**
   * `expectedLossSeconds` of each key. `next`: whatever a load is planned for, taken as used already, since what the
   * shadow caches give up for it has to be known before it evicts; its size counts where the policy knows none.
   */
  expectedLosses(next?: ModelUse): (key: string) => number | undefined;
  forget(key: string): void;
  /** For the log of decisions. */
  leader(): ShadowCache["name"];
}

export function createEvictionPolicy(): EvictionPolicy {
  let state = initialPolicy;
  return {
    used: (use) => void (state = policyAfter(state, use)),
    expectedLosses(next) {
      const then =
        next === undefined
          ? state
          : policyAfter(state, { ...next, sizeBytes: state.models.get(next.key)?.sizeBytes ?? next.sizeBytes });
      return (key) => expectedLossSeconds(then, key);
    },
    forget: (key) => void (state = policyWithout(state, key)),
    leader: () => state.leader,
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
