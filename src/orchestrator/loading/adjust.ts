import { ModelDoesNotFit } from "../errors.ts";
import { formatBytes } from "../memory/format.ts";
import type { LoadTarget, MemoryState } from "../memory/plan.ts";
import { sameModel } from "../store/model-name.ts";
import type { InstalledModel, LoadPlan } from "../types.ts";

/** A reload gives back what the model holds now: it must neither be evicted as a stranger nor counted as staying. */
export function withoutItself(state: MemoryState, target: LoadTarget): MemoryState {
  if (target.isLoaded) return state;
  const isItself = (entry: MemoryState["resident"][number]) => entry.engine === target.engine && sameModel(entry.name, target.model);
  const itself = state.resident.filter(isItself);
  if (itself.length === 0) return state;
  const givenBack = itself.reduce((sum, entry) => sum + entry.sizeBytes - (state.isOverridden ? 0 : entry.mappedBytes), 0);
  return {
    ...state,
    availableBytes: state.availableBytes + givenBack,
    resident: state.resident.filter((entry) => !isItself(entry)),
  };
}

/** Another machine's memory can't be measured from here: its engine decides, and the plan says so. */
export function unmeasuredPlan(target: LoadTarget): LoadPlan {
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
    steps: [`the memory of ${target.engine} is on another machine and not measured; set memory.availableBytes to plan it`],
  };
}

/** The error of a plan that can't be made to fit: both numbers, and what would fit instead. */
export function doesNotFit(
  plan: LoadPlan,
  lists: readonly { readonly models: readonly InstalledModel[] }[],
  bufferBytes: number,
): ModelDoesNotFit {
  const smaller = lists
    .flatMap(({ models }) => models)
    .filter((model) => model.trust === "local" && model.sizeBytes > 0)
    .filter((model) => model.sizeBytes * 1.2 + bufferBytes <= plan.freeBytes)
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0];
  const numbers = `${plan.model} needs ${formatBytes(plan.neededBytes)} at ${plan.contextTokens} tokens of context`;
  const largest = formatBytes(Math.max(0, plan.freeBytes - bufferBytes) / 1.2);
  const hint =
    smaller === undefined
      ? `lower context_tokens, free memory, or pull_model a model below ${largest}`
      : `use ${smaller.name} (${formatBytes(smaller.sizeBytes)}), which fits, or lower context_tokens`;
  return new ModelDoesNotFit(`${numbers}; ${formatBytes(plan.freeBytes)} are free`, { hint });
}
