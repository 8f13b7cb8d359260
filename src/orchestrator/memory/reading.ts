import { cacheBytes, type LoadShape, stateBytes } from "./cache.ts";
import type { ComputeObservation } from "./calibration.ts";
import { computeBytes } from "./compute.ts";
import type { ModelDimensions } from "./dimensions.ts";
import type { WeightBytes } from "./predict.ts";

/** What a size that an engine reported says of its compute buffer: the rest of the prediction is taken as right. */
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
 * The size that an engine reported, with what it forgot. Ollama reads its runner's log and keeps one line of each kind,
 * so that of a model with sliding layers it counts only the cache of those (seen with 0.33: Gemma 3 270M at 8,192 tokens
 * is reported 24 MiB short). Whether the other cache is missing shows in what would be left for compute: of both
 * readings the one is taken that the formula explains better.
 */
export function completeReading(
  model: ModelDimensions,
  load: LoadShape,
  weights: WeightBytes,
  reportedBytes: number,
): number {
  const full = { ...model, layers: model.layers.filter(({ isSliding }) => !isSliding) };
  const fullBytes = cacheBytes(full, load);
  if (fullBytes === 0 || fullBytes === cacheBytes(model, load)) return reportedBytes;
  const distance = (bytes: number): number => {
    const { observedBytes, batchBytes, sequencesBytes } = computeObservation(model, load, weights, bytes);
    if (observedBytes <= 0) return Number.POSITIVE_INFINITY;
    return Math.min(...[batchBytes, sequencesBytes].map((formula) => Math.abs(Math.log(observedBytes / formula))));
  };
  const completed = reportedBytes + fullBytes;
  return distance(completed) < distance(reportedBytes) ? completed : reportedBytes;
}
