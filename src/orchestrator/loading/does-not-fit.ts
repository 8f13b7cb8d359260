import { ModelDoesNotFit } from "../errors.ts";
import { formatBytes } from "../text/format-bytes.ts";
import { sameModel } from "../store/model-name.ts";
import type { InstalledModel, LoadPlan } from "../types.ts";
import type { Estimates } from "../estimates/estimates.ts";

type Lists = readonly { readonly models: readonly InstalledModel[] }[];

/** The largest local model other than `except` whose size, or what is configured of it, is at most `bytes`. */
export function largestWithin(
  lists: Lists,
  bytes: number,
  except: string,
  estimateOf: Estimates["quick"],
): InstalledModel | undefined {
  return largestOther(lists, except, (model) => estimateOf(model).predictedBytes <= bytes);
}

function largestOther(
  lists: Lists,
  except: string,
  isSmallEnough: (model: InstalledModel) => boolean,
): InstalledModel | undefined {
  return lists
    .flatMap(({ models }) => models)
    .filter((model) => model.trust === "local" && model.sizeBytes > 0 && !sameModel(model.name, except))
    .filter(isSmallEnough)
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0];
}

/** What a smaller need begins with; `smallerTokens` as of `smallerContext`. */
export function remediesOfContext(smallerTokens: number | undefined): readonly string[] {
  return smallerTokens === undefined ? [] : [`lower context_tokens to ${smallerTokens}`];
}

/**
 * The error of a plan that can't be made to fit: both numbers, and what would fit instead once idle models are gone.
 * `pinned` are models that would make room if nobody had pinned them; `estimateOf` knows what is configured of others;
 * with `smallerTokens` of context the model itself fits.
 */
export function doesNotFit(
  plan: LoadPlan,
  lists: Lists,
  bufferBytes: number,
  pinned: readonly string[],
  estimateOf: Estimates["quick"],
  smallerTokens?: number,
): ModelDoesNotFit {
  const { freeBytes, limit } = plan.atMost ?? { freeBytes: plan.freeBytes, limit: "memory" };
  const isCapped = limit === "memory.maxBytes";
  // The buffer is kept of the memory, not of what the user allows.
  const besideBytes = isCapped ? 0 : bufferBytes;
  // The rule of models without metadata, read backwards (`estimateBySize`).
  const largestBytes = Math.max(0, Math.min(freeBytes / 1.2, freeBytes - besideBytes));
  const smaller = largestOther(lists, plan.model, (model) => {
    const { method, predictedBytes } = estimateOf(model);
    return method === "configured" ? predictedBytes + besideBytes <= freeBytes : model.sizeBytes <= largestBytes;
  });
  const numbers = `${plan.model} needs ${formatBytes(plan.neededBytes)} at ${plan.contextTokens} tokens of context`;
  const pins = pinned.length === 0 ? "" : `; ${pinned.join(", ")} ${pinned.length === 1 ? "is" : "are"} pinned`;
  const remedies = [
    ...(pinned.length === 0 ? [] : [`call manage_model with action unpin for ${pinned.join(", ")}`]),
    ...remediesOfContext(smallerTokens),
    ...(plan.estimate.method === "configured" ? ["correct its sizeBytes in the settings"] : []),
    ...(isCapped ? ["raise memory.maxBytes"] : []),
    ...(smaller === undefined
      ? [...(isCapped ? [] : ["free memory"]), ...(largestBytes > 0 ? [pullBelow(largestBytes)] : [])]
      : [`use ${smaller.name} (${formatBytes(smaller.sizeBytes)}), which fits`]),
  ];
  return new ModelDoesNotFit(`${numbers}; ${roomInWords(plan)}${pins}`, { hint: remedies.join(", or ") });
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
