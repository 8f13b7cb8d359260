import type { MemoryEstimate } from "../types.ts";
import { cacheBytes, type LoadShape, stateBytes } from "./cache.ts";
import { type ComputeCalibration, unobserved } from "./calibration.ts";
import { computeBytes } from "./compute.ts";
import type { ModelDimensions } from "./dimensions.ts";
import { buildErrorOf, processBytesOf } from "./predict.ts";

/** What llama.cpp's allocator reserves for a load. */
export interface AllocatorBytes {
  readonly weightsBytes: number;
  /** With recurrent state. */
  readonly cacheBytes: number;
  readonly computeBytes: number;
}

/** Share of the compute buffer that two builds with the same habit differ in. */
const buildDifference = 0.1;
/** Of everything: alignment, and what one build keeps beside its buffers. */
const generalError = 0.003;

/**
 * The simulated tier for another engine's load: its weights and cache are the same in every build of llama.cpp, while
 * the compute buffer is the one of *our* build. So that part is brought to the habit that was observed of the other
 * build, by what the formula says for either, and carries the margin. `model` is undefined where the formula doesn't
 * know it: then the buffers stand as they are.
 */
export function simulatedElsewhere(
  bytes: AllocatorBytes,
  load: LoadShape,
  model: ModelDimensions | undefined,
  otherBytes: number,
  calibration: ComputeCalibration = unobserved,
): MemoryEstimate {
  const split: Split = model === undefined ? bytes : splitBy(model, load, bytes);
  const compute = Math.ceil(split.computeBytes * (model === undefined ? 1 : habitRatio(model, load, calibration)));
  const predictedBytes = bytes.weightsBytes + split.cacheBytes + (split.stateBytes ?? 0) + compute + otherBytes;
  const share = Math.max(buildDifference, buildErrorOf(calibration));
  return {
    method: "simulated",
    predictedBytes,
    margin: Math.ceil(((share * compute) / predictedBytes + generalError) * 1_000) / 1_000,
    parts: {
      weightsBytes: bytes.weightsBytes,
      cacheBytes: split.cacheBytes,
      ...(split.stateBytes === undefined ? {} : { stateBytes: split.stateBytes }),
      computeBytes: compute,
      otherBytes,
    },
    processBytes: processBytesOf(model?.vocabulary ?? 0),
  };
}

/**
 * The embedded engine's own simulation, with what of its compute buffer becomes resident: llama.cpp reserves logits for
 * every token of a batch, and only those of the last one are computed, so their pages are never touched (25 MB of
 * SmolLM2 at a batch of 128). Unchanged where the formula doesn't know the model.
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

/** Cache and state are exact in the formula; the allocator's own split is a guess from how they grow. */
function splitBy(model: ModelDimensions, load: LoadShape, bytes: AllocatorBytes): Split {
  const [cache, state] = [Math.ceil(cacheBytes(model, load)), stateBytes(model, load)];
  const computed = bytes.cacheBytes + bytes.computeBytes - cache - state;
  // A cache that the formula misjudges would leave nothing for compute.
  if (computed <= 0) return bytes;
  return { cacheBytes: cache, ...(state > 0 ? { stateBytes: state } : {}), computeBytes: computed };
}

function habitRatio(model: ModelDimensions, load: LoadShape, { outputs, scale }: ComputeCalibration): number {
  return (computeBytes(model, load, outputs) * scale) / computeBytes(model, load, "batch");
}
