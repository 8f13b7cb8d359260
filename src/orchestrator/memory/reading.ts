import type { LoadShape } from "../api/types.ts";
import { cacheBytes, fullCacheBytes, stateBytes } from "./cache.ts";
import { type ComputeObservation, computeBytes } from "./compute.ts";
import type { ModelDimensions } from "./dimensions.ts";
import type { WeightBytes } from "./predict.ts";

/** Derives the compute buffer from a size that an engine reported; the rest of the prediction is taken as exact. */
export function computeObservation(
  model: ModelDimensions,
  load: LoadShape,
  { weightsBytes, otherBytes = 0 }: WeightBytes,
  reportedBytes: number,
): ComputeObservation {
  return {
    observedBytes: reportedBytes - weightsBytes - otherBytes - cacheBytes(model, load) - stateBytes(model, load),
    batchBytes: computeBytes(model, load, "batch"),
    sequencesBytes: computeBytes(model, load, "sequences"),
  };
}

/**
 * Completes a size that an engine reported. Ollama parses the log of its runner and keeps one line of each kind, so for
 * a model with sliding layers it counts only their cache (observed with 0.33: Gemma 3 270M at 8,192 tokens is reported
 * 24 MiB too small). Whether the other cache is missing follows from the remaining compute buffer: of the two readings,
 * the one that is closer to the formula is returned.
 */
export function completeReading(
  model: ModelDimensions,
  load: LoadShape,
  weights: WeightBytes,
  reportedBytes: number,
): number {
  const fullBytes = fullCacheBytes(model, load);
  if (fullBytes === 0 || fullBytes === cacheBytes(model, load)) return reportedBytes;
  const distance = (bytes: number): number => {
    const { observedBytes, batchBytes, sequencesBytes } = computeObservation(model, load, weights, bytes);
    if (observedBytes <= 0) return Number.POSITIVE_INFINITY;
    return Math.min(...[batchBytes, sequencesBytes].map((formula) => Math.abs(Math.log(observedBytes / formula))));
  };
  const completed = reportedBytes + fullBytes;
  return distance(completed) < distance(reportedBytes) ? completed : reportedBytes;
}

/** The default context: enough for a question about a page or two. */
export const defaultContextTokens = 4096;

/**
 * The context to load a model with, in tokens: the requested size rounded up to a power of two (so that similar
 * requests share one load), at most the model's own window.
 */
export function canonicalContext(ask: {
  /** Undefined: `defaultContextTokens`. */
  readonly atLeastTokens: number | undefined;
  readonly windowTokens?: number | undefined;
}): number {
  const wanted = Math.max(ask.atLeastTokens ?? defaultContextTokens, 256);
  const rounded = 2 ** Math.ceil(Math.log2(wanted));
  return ask.windowTokens === undefined ? rounded : Math.min(rounded, ask.windowTokens);
}
