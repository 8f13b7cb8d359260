import type { LoadPlan, ResidentModel } from "../api/types.ts";
import type { Estimates } from "../memory/measure/estimates.ts";
import { type LoadTarget, planLoad } from "../memory/plan.ts";
import { type LocatedModel, modelId, takesNoMemory } from "../models/located-model.ts";
import { sameModel } from "../util/model-name.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import { victimsOf } from "./queueing.ts";

/** Dry runs of loads: reads the state of the memory and calls `planLoad`. */
export interface Plans {
  /** A model that is loaded with at least `sufficientTokens` counts as loaded. */
  of(located: LocatedModel, contextTokens: number, signal: AbortSignal, sufficientTokens?: number): Promise<LoadPlan>;
  /** At most a minute old; requested again if the keep-alive has ended since. */
  resident(located: LocatedModel): Promise<ResidentModel | undefined>;
  targetOf(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadTarget>;
  /** Ids of the models that a load would evict; see `victimsOf`. */
  wouldEvict(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<readonly string[]>;
}

export function createPlans(parts: {
  readonly source: MemoryStateSource;
  readonly estimate: Estimates["of"];
  readonly policies: Pick<EvictionPolicies, "measured">;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Plans {
  const { source, estimate, policies, now } = parts;
  const { inventory } = source;

  async function targetOf(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadTarget> {
    const { engine, model } = located;
    // First: the estimate requests the facts that `slotOf` needs.
    const estimated = await estimate(located, contextTokens, signal);
    const facts = engine.usesCards === true ? inventory.knownFacts(located) : undefined;
    const { residency } = engine;
    const schedulerBytes = facts && residency?.schedulerBytes?.(facts, residency.loadShape(facts, contextTokens));
    return {
      model: model.name,
      engine: engine.id,
      slot: inventory.runners.slotOf(modelId(engine.id, model.name)),
      contextTokens,
      estimate: estimated,
      fileBytes: model.sizeBytes,
      ...(schedulerBytes === undefined ? {} : { schedulerBytes }),
      isLoaded: false,
    };
  }

  return {
    targetOf,

    async of(located, contextTokens, signal, sufficientTokens = contextTokens) {
      if (takesNoMemory(located)) return elsewherePlan(located, contextTokens);
      const { engine, model } = located;
      const [target, state, resident] = await Promise.all([
        targetOf(located, contextTokens, signal),
        readMemoryState(source, engine, model),
        inventory.residentOf(located, 0),
      ]);
      if (state !== undefined) policies.measured(engine, state);
      const loadedTokens = resident && (resident.contextTokens ?? contextTokens);
      const isLoaded = loadedTokens !== undefined && loadedTokens >= sufficientTokens;
      const loadedAs = resident && !sameModel(resident.name, model.name) ? { loadedAs: resident.name } : {};
      const asItIs = isLoaded ? { ...target, isLoaded, contextTokens: loadedTokens, ...loadedAs } : target;
      return state === undefined ? unmeasuredPlan(asItIs) : planLoad(asItIs, state);
    },

    async resident(located) {
      const remembered = await inventory.residentOf(located, 60_000);
      const isExpired = remembered?.expiresAt !== undefined && Date.parse(remembered.expiresAt) <= now();
      return isExpired ? await inventory.residentOf(located, 0) : remembered;
    },

    async wouldEvict(located, contextTokens, signal) {
      const [target, state] = await Promise.all([
        targetOf(located, contextTokens, signal),
        readMemoryState(source, located.engine, located.model),
      ]);
      return state === undefined ? [] : victimsOf(target, state);
    },
  };
}

/** The memory of another machine can't be measured from here: the plan leaves the decision to its engine. */
function unmeasuredPlan(target: LoadTarget): LoadPlan {
  return {
    model: target.model,
    engine: target.engine,
    contextTokens: target.contextTokens,
    isLoaded: target.isLoaded,
    fits: true,
    estimate: target.estimate,
    neededBytes: target.estimate.predictedBytes,
    freeBytes: 0,
    evict: [],
    steps: [
      `the memory of ${target.engine} is on another machine and can't be measured (providers.ollama.memoryBytes is not set)`,
    ],
  };
}

/** The plan for a cloud model, which needs no memory here. */
function elsewherePlan({ engine, model }: LocatedModel, contextTokens: number): LoadPlan {
  return {
    model: model.name,
    engine: engine.id,
    contextTokens,
    isLoaded: false,
    fits: true,
    estimate: { method: "configured", predictedBytes: 0, margin: 0, processBytes: 0 },
    neededBytes: 0,
    freeBytes: 0,
    evict: [],
    steps: [`${model.name} is a cloud model: it uses no memory on this machine`],
  };
}
