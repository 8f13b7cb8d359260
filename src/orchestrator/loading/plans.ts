import { type LocatedModel, takesNoMemory } from "../inventory/located-model.ts";
import { type LoadTarget, planLoad } from "../memory/plan.ts";
import { modelId } from "../inventory/model-id.ts";
import { sameModel } from "../store/model-name.ts";
import type { LoadPlan, ResidentModel } from "../types.ts";
import type { Estimates } from "../estimates/estimates.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";
import { victimsOf } from "./queueing.ts";

/** What loads would do, without doing it: the memory is looked at, the decision is `planLoad`'s. */
export interface Plans {
  /** A model that is loaded with `sufficientTokens` is used as it is. */
  of(located: LocatedModel, contextTokens: number, signal: AbortSignal, sufficientTokens?: number): Promise<LoadPlan>;
  /** As it was last looked at, at most a minute ago; one whose time is over by now is looked for anew. */
  resident(located: LocatedModel): Promise<ResidentModel | undefined>;
  targetOf(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadTarget>;
  /** Ids of what would have to go; see `victimsOf`. */
  wouldEvict(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<readonly string[]>;
}

export function createPlans(parts: {
  readonly source: MemoryStateSource;
  readonly estimate: Estimates["of"];
  readonly policies: Pick<EvictionPolicies, "looked">;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}): Plans {
  const { source, estimate, policies, now } = parts;
  const { inventory } = source;

  async function targetOf(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadTarget> {
    const { engine, model } = located;
    // With it come the facts that tell whose slot it is.
    const estimated = await estimate(located, contextTokens, signal);
    return {
      model: model.name,
      engine: engine.id,
      slot: inventory.runners.slotOf(modelId(engine.id, model.name)),
      contextTokens,
      estimate: estimated,
      fileBytes: model.sizeBytes,
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
      if (state !== undefined) policies.looked(engine, state);
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

/** Another machine's memory can't be measured from here: its engine decides, and the plan says so. */
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
      `the memory of ${target.engine} is on another machine and not measured; set providers.ollama.memoryBytes to plan it`,
    ],
  };
}

/** A cloud model needs nothing here. */
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
    steps: [`${model.name} runs elsewhere: it takes no memory here`],
  };
}
