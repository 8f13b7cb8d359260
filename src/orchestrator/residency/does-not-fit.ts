import { ModelDoesNotFit } from "../api/errors.ts";
import { type NextStep, advice } from "../api/next-step.ts";
import type { LoadPlan, MemoryEstimate } from "../api/facade-status.ts";
import type { InstalledModel } from "../api/types.ts";
import type { Estimates } from "./estimates.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";

type Lists = readonly { readonly models: readonly InstalledModel[] }[];

/** The largest local model other than `except` whose estimated or configured size is at most `bytes`. */
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

/** The step that lowers the context to the result of `smallerContext`; none for undefined. */
export function lowerContext(smallerTokens: number | undefined): readonly NextStep[] {
  return smallerTokens === undefined ? [] : [{ step: "lowerArgument", argument: "context", to: smallerTokens }];
}

/**
 * The error for a plan that doesn't fit: the needed and the available bytes, and as next steps what would fit once idle
 * models are unloaded. Unpinning `pinned` would make room. `estimateOf` includes configured sizes. `smallerTokens`: the
 * largest context with which the model fits.
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
  // The buffer is part of the measured memory, not of the limit that the user set.
  const besideBytes = isCapped ? 0 : bufferBytes;
  // The inverse of `estimateBySize`, the rule for models without metadata.
  const largestBytes = Math.max(0, Math.min(freeBytes / 1.2, freeBytes - besideBytes));
  const smaller = largestOther(lists, plan.model, (model) => {
    const { method, predictedBytes } = estimateOf(model);
    return method === "configured" ? predictedBytes + besideBytes <= freeBytes : model.sizeBytes <= largestBytes;
  });
  const numbers = `${plan.model} needs ${formatBytes(plan.neededBytes)} at ${plan.contextTokens} tokens of context`;
  const pins = pinned.length === 0 ? "" : `; ${pinned.join(", ")} ${pinned.length === 1 ? "is" : "are"} pinned`;
  const next: NextStep[] = [
    ...(pinned.length === 0 ? [] : [{ step: "unpinModels", models: pinned } as const]),
    ...lowerContext(smallerTokens),
    ...(plan.estimate.method === "configured" ? [advice("correct the sizeBytes configured for the model")] : []),
    ...(isCapped ? [{ step: "raiseSetting", setting: "memory.maxBytes" } as const] : []),
    ...(smaller === undefined
      ? [...(isCapped ? [] : [advice("free memory")]), ...(largestBytes > 0 ? [pullBelow(largestBytes)] : [])]
      : [{ step: "useModel", model: smaller.name, because: `${formatBytes(smaller.sizeBytes)}, fits` } as const]),
  ];
  return new ModelDoesNotFit(`${numbers}; ${roomInWords(plan)}${pins}`, { next });
}

/** The next steps of a refusal that are facts about what fits, as text for the log of decisions. */
export function whatWouldFit(next: readonly NextStep[]): readonly string[] {
  return next.flatMap((step) => {
    if (step.step === "useModel") return [`${step.model} would fit`];
    return step.step === "lowerArgument" ? [`${step.to} tokens of context would fit`] : [];
  });
}

function pullBelow(bytes: number): NextStep {
  return { step: "pullModelThat", that: `below ${formatBytes(bytes)}` };
}

function roomInWords({ freeBytes, atMost }: LoadPlan): string {
  if (atMost?.limit === "memory.maxBytes") return `memory.maxBytes leaves at most ${formatBytes(atMost.freeBytes)}`;
  const idle = atMost !== undefined && atMost.freeBytes > freeBytes;
  const more = idle ? `, ${formatBytes(atMost.freeBytes)} with all idle models unloaded` : "";
  return `${formatBytes(freeBytes)} are free${more}`;
}

/** Anything less is too small to be useful. */
const minTokens = 1024;

/** Estimates that don't depend on the context. */
const contextFree: ReadonlySet<MemoryEstimate["method"]> = new Set(["size_rule", "configured"]);

/**
 * The largest power-of-two context below the refused one for which `fits` resolves to true; undefined if there is
 * none.
 */
export async function smallerContext(
  refused: { readonly contextTokens: number; readonly estimate: Pick<MemoryEstimate, "method"> },
  fits: (contextTokens: number) => Promise<boolean>,
): Promise<number | undefined> {
  if (contextFree.has(refused.estimate.method) || refused.contextTokens <= minTokens) return undefined;
  // Checked first: mostly the weights alone don't fit.
  if (!(await fits(minTokens))) return undefined;
  let tokens = minTokens;
  while (tokens * 2 < refused.contextTokens && (await fits(tokens * 2))) tokens *= 2;
  return tokens;
}
