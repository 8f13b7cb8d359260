import { ModelDoesNotFit } from "../errors.ts";
import { formatBytes } from "../text/format-bytes.ts";
import type { LocatedModel } from "../inventory/inventory.ts";
import type { LoadTarget } from "../memory/plan.ts";
import { sameModel } from "../store/model-name.ts";
import type { InstalledModel, LoadPlan } from "../types.ts";
import type { Estimates } from "../estimates/estimates.ts";

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
    steps: [
      `the memory of ${target.engine} is on another machine and not measured; set providers.ollama.memoryBytes to plan it`,
    ],
  };
}

/** A cloud model needs nothing here. */
export function elsewherePlan({ engine, model }: LocatedModel, contextTokens: number): LoadPlan {
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

/** The largest local model other than `except` whose size, or what is configured of it, is at most `bytes`. */
export function largestWithin(
  lists: readonly { readonly models: readonly InstalledModel[] }[],
  bytes: number,
  except: string,
  estimateOf: Estimates["quick"],
): InstalledModel | undefined {
  return lists
    .flatMap(({ models }) => models)
    .filter((model) => model.trust === "local" && model.sizeBytes > 0 && !sameModel(model.name, except))
    .filter((model) => estimateOf(model).predictedBytes <= bytes)
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0];
}

/** What a smaller need begins with, where the size follows from the context at all. */
export function remediesOfContext({ estimate }: Pick<LoadPlan, "estimate">): readonly string[] {
  // Under the size rule, or what is configured, the context changes nothing.
  return contextFree.has(estimate.method) ? [] : ["lower context_tokens"];
}

const contextFree: ReadonlySet<string> = new Set(["size_rule", "configured"]);

/**
 * The error of a plan that can't be made to fit: both numbers, and what would fit instead once idle models are gone.
 * `pinned` are models that would make room if nobody had pinned them; `estimateOf` knows what is configured of others.
 */
export function doesNotFit(
  plan: LoadPlan,
  lists: readonly { readonly models: readonly InstalledModel[] }[],
  bufferBytes: number,
  pinned: readonly string[],
  estimateOf: Estimates["quick"],
): ModelDoesNotFit {
  const { freeBytes, limit } = plan.atMost ?? { freeBytes: plan.freeBytes, limit: "memory" };
  const isCapped = limit === "memory.maxBytes";
  // The buffer is kept of the memory, not of what the user allows.
  const besideBytes = isCapped ? 0 : bufferBytes;
  // The rule of models without metadata, read backwards (`estimateBySize`).
  const largestBytes = Math.max(0, Math.min(freeBytes / 1.2, freeBytes - besideBytes));
  const smaller = lists
    .flatMap(({ models }) => models)
    .filter((model) => model.trust === "local" && model.sizeBytes > 0)
    .filter((model) => {
      if (sameModel(model.name, plan.model)) return false;
      const { method, predictedBytes } = estimateOf(model);
      return method === "configured" ? predictedBytes + besideBytes <= freeBytes : model.sizeBytes <= largestBytes;
    })
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0];
  const numbers = `${plan.model} needs ${formatBytes(plan.neededBytes)} at ${plan.contextTokens} tokens of context`;
  const kept = pinned.length === 0 ? "" : `; ${pinned.join(", ")} ${pinned.length === 1 ? "is" : "are"} pinned`;
  const remedies = [
    ...(pinned.length === 0 ? [] : [`call manage_model with action release for ${pinned.join(", ")}`]),
    ...remediesOfContext(plan),
    ...(plan.estimate.method === "configured" ? ["correct its sizeBytes in the settings"] : []),
    ...(isCapped ? ["raise memory.maxBytes"] : []),
    ...(smaller === undefined
      ? [...(isCapped ? [] : ["free memory"]), ...(largestBytes > 0 ? [pullBelow(largestBytes)] : [])]
      : [`use ${smaller.name} (${formatBytes(smaller.sizeBytes)}), which fits`]),
  ];
  return new ModelDoesNotFit(`${numbers}; ${roomInWords(plan)}${kept}`, { hint: remedies.join(", or ") });
}

function pullBelow(bytes: number): string {
  return `pull_model a model below ${formatBytes(bytes)}`;
}

function roomInWords({ freeBytes, atMost }: LoadPlan): string {
  if (atMost?.limit === "memory.maxBytes") return `memory.maxBytes leaves at most ${formatBytes(atMost.freeBytes)}`;
  const idle = atMost !== undefined && atMost.freeBytes > freeBytes;
  const more = idle ? `, ${formatBytes(atMost.freeBytes)} with everything idle unloaded` : "";
  return `${formatBytes(freeBytes)} are free${more}`;
}
