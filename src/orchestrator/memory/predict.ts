import type { MemoryEstimate } from "../api/facade-status.ts";
import type { LoadShape, ModelFacts } from "../api/types.ts";
import { cacheBytes, stateBytes, type ComputeCalibration, computeBytes, unobserved, outputSlack } from "./compute.ts";
import type { ModelDimensions } from "./dimensions.ts";
import { defined } from "../util/values.ts";
import architectures from "./architectures.json" with { type: "json" };

/** Sizes of a model's file. */
export interface WeightBytes {
  /** Bytes of all tensors. */
  readonly weightsBytes: number;
  /** Projector and adapters, which are stored in files of their own. */
  readonly otherBytes?: number;
}

/**
 * From an engine's description: the tensors if it lists them all, else the whole size, which includes the projector of
 * a vision or audio model.
 */
export function weightBytesOf({ sizeBytes, weightsBytes, capabilities }: ModelFacts): WeightBytes {
  // A list that covers less than half of the file is incomplete.
  if (weightsBytes === undefined || weightsBytes > sizeBytes || weightsBytes < sizeBytes / 2)
    return { weightsBytes: sizeBytes };
  const hasProjector = capabilities.includes("vision") || capabilities.includes("audio");
  return { weightsBytes, ...(hasProjector ? { otherBytes: sizeBytes - weightsBytes } : {}) };
}

/**
 * Architectures whose compute buffer was compared with llama.cpp's allocator (`bench fit-grid`): the formula was at
 * most 15 % too low. Others get a wider margin; so does LFM2, where 19 % were observed.
 */
const measured: ReadonlySet<string> = new Set(architectures.measured);

/**
 * Relative error of the formula for the compute buffer; `scores`: without flash attention, where it was 17 % too low.
 */
const computeError = { measured: 0.15, scores: 0.2, unmeasured: 0.4 };
/** Relative error of the whole: padding, alignment, metadata that a converter left out. */
const generalError = { measured: 0.003, unmeasured: 0.03 };
/** Relative error of the compute buffer while nothing was observed of this build. */
const unobservedError = 0.3;

/**
 * Memory of an engine process beside its buffers: the program, and per token the tables of the tokenizer (50 to 75 MiB
 * for 128,000 to 150,000).
 */
const processBaseBytes = 64 * 1024 ** 2;
const bytesPerWord = 512;

/**
 * The estimate computed from a model's metadata: weights, cache, recurrent state and compute buffer. The margin is the
 * compute buffer's share of the whole times its relative error, since the rest is exact. It is small for large models,
 * wider for small ones with a large batch, and wider still for architectures that were never measured and before a size
 * was observed on that build of the engine.
 */
export function computedEstimate(
  model: ModelDimensions,
  load: LoadShape,
  { weightsBytes, otherBytes = 0 }: WeightBytes,
  calibration: ComputeCalibration = unobserved,
): MemoryEstimate {
  const cache = Math.ceil(cacheBytes(model, load));
  const state = stateBytes(model, load);
  const compute = Math.ceil(computeBytes(model, load, calibration.outputs) * calibration.scale);
  const predictedBytes = weightsBytes + cache + state + compute + otherBytes;
  const kind = measured.has(model.architecture) ? "measured" : "unmeasured";
  const formulaError = computeError[kind === "measured" && !load.hasFlashAttention ? "scores" : kind];
  const share = Math.max(formulaError, outputSlack(model, load, calibration.outputs), buildErrorOf(calibration));
  const relative = (share * compute) / predictedBytes + generalError[kind];
  return {
    method: "computed",
    predictedBytes,
    margin: Math.ceil(relative * 1_000) / 1_000,
    parts: {
      weightsBytes,
      cacheBytes: cache,
      ...(state > 0 ? { stateBytes: state } : {}),
      computeBytes: compute,
      otherBytes,
    },
    processBytes: processBytesOf(model.vocabulary),
  };
}

/** Relative difference of the compute buffer between builds. */
const buildErrorOf = ({ observations, spread }: ComputeCalibration): number =>
  observations === 0 ? unobservedError : spread;

/** Bytes that an engine process takes beside its buffers. */
const processBytesOf = (vocabulary: number): number => processBaseBytes + bytesPerWord * vocabulary;

/** Allowance for cache and compute buffers, which don't depend on the size of the file. */
const unknownBytes = 1024 ** 3;

/**
 * Predicts from the file's size alone, for models without metadata: size × 1.20.
 *
 * The weights take as much as the file; the 20 % are for cache, compute buffers, tokenizer and process at an ordinary
 * context (a 7B model in Q4 with 4,096 tokens: 4.7 GB on disk, 5.5 GB loaded). These depend on the context and not on
 * the file, so the margin is wide, and widest for small files: 98 MB of SmolLM2 occupy 211 MB. `bufferBytes` is
 * `memory.bufferBytes`, which absorbs such errors.
 */
export function estimateBySize(sizeBytes: number, bufferBytes: number): MemoryEstimate {
  const predictedBytes = sizeRuleBytes(sizeBytes);
  const relative = predictedBytes === 0 ? 1 : 0.2 + Math.max(bufferBytes, unknownBytes) / predictedBytes;
  return {
    method: "size_rule",
    predictedBytes,
    margin: Math.min(1, Math.round(relative * 100) / 100),
    processBytes: 0,
  };
}

/** size × 1.20 in whole bytes (× 6 ÷ 5, which is exact for integers). */
export function sizeRuleBytes(sizeBytes: number): number {
  return Math.ceil((sizeBytes * 6) / 5);
}

/** Bytes that llama.cpp's allocator reserves for a load. */
interface AllocatorBytes {
  readonly weightsBytes: number;
  /** Includes the recurrent state. */
  readonly cacheBytes: number;
  readonly computeBytes: number;
}

/** Relative difference of the compute buffer between builds with the same reserved outputs. */
const buildDifference = 0.1;
/** Relative error of the whole: alignment, and memory of a build beside its buffers. */
const simulationError = 0.003;

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
    margin: Math.ceil(((share * compute) / predictedBytes + simulationError) * 1_000) / 1_000,
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
  // A card's buffers are in its memory as a whole.
  const isOnCards = estimate.byLayers !== undefined;
  if (parts === undefined || model === undefined || model.isEncoder || isOnCards) return estimate;
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
