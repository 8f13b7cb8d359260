import type { MemoryEstimate } from "../api/load-plan.ts";
import type { LoadShape } from "../api/types.ts";
import { cacheBytes, stateBytes } from "./cache.ts";
import { type ComputeCalibration, computeBytes, unobserved } from "./compute.ts";
import type { ModelDimensions } from "./dimensions.ts";
import { buildErrorOf, processBytesOf } from "./predict.ts";
import { defined } from "../util/defined.ts";

/** Bytes that llama.cpp's allocator reserves for a load. */
export interface AllocatorBytes {
  readonly weightsBytes: number;
  /** Includes the recurrent state. */
  readonly cacheBytes: number;
  readonly computeBytes: number;
}

/** Relative difference of the compute buffer between builds with the same reserved outputs. */
const buildDifference = 0.1;
/** Relative error of the whole: alignment, and memory of a build beside its buffers. */
const generalError = 0.003;

/**
 * The estimate for another engine's load from a simulation by the embedded engine. Weights and cache are the same in
 * every build of llama.cpp, but the compute buffer is that of *our* build: it is converted to the reserved outputs
 * observed of the other build by the ratio of the formulas, and carries the margin. `model` is undefined if the formula
 * doesn't support it; the buffers are used unchanged then.
 */
export function simulatedElsewhere(
  bytes: AllocatorBytes,
  load: LoadShape,
  model: ModelDimensions | undefined,
  otherBytes: number,
  calibration: ComputeCalibration = unobserved,
): MemoryEstimate {
  const split: Split = model === undefined ? bytes : splitBy(model, load, bytes);
  const compute = Math.ceil(split.computeBytes * (model === undefined ? 1 : outputsRatio(model, load, calibration)));
  const predictedBytes = bytes.weightsBytes + split.cacheBytes + (split.stateBytes ?? 0) + compute + otherBytes;
  const share = Math.max(buildDifference, buildErrorOf(calibration));
  return {
    method: "simulated",
    predictedBytes,
    margin: Math.ceil(((share * compute) / predictedBytes + generalError) * 1_000) / 1_000,
    parts: {
      weightsBytes: bytes.weightsBytes,
      cacheBytes: split.cacheBytes,
      ...defined({ stateBytes: split.stateBytes }),
      computeBytes: compute,
      otherBytes,
    },
    processBytes: processBytesOf(model?.vocabulary ?? 0),
  };
}

/**
 * The embedded engine's own simulation, reduced to the part of its compute buffer that becomes resident: llama.cpp
 * reserves logits for every token of a batch, but computes only those of the last one, so most pages are never touched
 * (25 MB of SmolLM2 at a batch of 128). Unchanged if the formula doesn't support the model.
 */
export function residentPart(
  estimate: MemoryEstimate,
  load: LoadShape,
  model: ModelDimensions | undefined,
): MemoryEstimate {
  const { parts } = estimate;
  if (parts === undefined || model === undefined || model.isEncoder) return estimate;
  const touched = computeBytes(model, load, "sequences") / computeBytes(model, load, "batch");
  const compute = Math.ceil(parts.computeBytes * Math.min(1, touched));
  const predictedBytes = estimate.predictedBytes - parts.computeBytes + compute;
  return { ...estimate, predictedBytes, parts: { ...parts, computeBytes: compute } };
}

interface Split {
  readonly cacheBytes: number;
  readonly stateBytes?: number;
  readonly computeBytes: number;
}

/** Splits the bytes by the formula, which is exact for cache and state; the allocator's own split is a guess. */
function splitBy(model: ModelDimensions, load: LoadShape, bytes: AllocatorBytes): Split {
  const [cache, state] = [Math.ceil(cacheBytes(model, load)), stateBytes(model, load)];
  const computed = bytes.cacheBytes + bytes.computeBytes - cache - state;
  // The formula's cache is wrong for this model if nothing is left for compute.
  if (computed <= 0) return bytes;
  return { cacheBytes: cache, ...(state > 0 ? { stateBytes: state } : {}), computeBytes: computed };
}

function outputsRatio(model: ModelDimensions, load: LoadShape, { outputs, scale }: ComputeCalibration): number {
  return (computeBytes(model, load, outputs) * scale) / computeBytes(model, load, "batch");
}
