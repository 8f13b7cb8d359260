import type { CacheType, LoadShape } from "../api/types.ts";
import type { ModelDimensions } from "./dimensions.ts";
import { getOrInsert } from "../util/values.ts";

/**
 * Correction of the compute formula for one build of an engine (host and version), learned from observed sizes. Builds
 * differ by up to a factor of five.
 */
export interface ComputeCalibration {
  readonly outputs: ReservedOutputs;
  /** Factor for the formula's compute bytes. */
  readonly scale: number;
  /** Number of observations that it was learned from; 0: nothing is known. */
  readonly observations: number;
  /** Largest relative distance of an observation from the scaled formula. */
  readonly spread: number;
}

/** The compute buffer of one loaded model as observed, and as computed for both kinds of reserved outputs. */
export interface ComputeObservation {
  readonly observedBytes: number;
  readonly batchBytes: number;
  readonly sequencesBytes: number;
}

/** Without observations: logits for the whole batch, the larger of the two. */
export const unobserved: ComputeCalibration = { outputs: "batch", scale: 1, observations: 0, spread: 0 };

/**
 * Ratios outside this range have another cause than the compute buffer: another cache type, more sequences, offloaded
 * weights.
 */
const plausible = { min: 0.4, max: 2.5 };

/** Below this ratio of the two formulas, an observation can't tell them apart. */
const significantRatio = 1.25;
/** Observations below this share of the larger formula count for the smaller one. */
const clearlyLess = 0.8;

/**
 * Determines from the observations for which tokens a build reserves logits, and one scale for its compute term.
 * Observations that neither formula explains within a factor of 2.5 are ignored. If all others fit both formulas (a
 * small vocabulary, a wide block), nothing is known about the build: only a scale above 1 is kept.
 *
 * The scale is the largest observed ratio, at least 1. A ratio below 1 is specific to the observed model and context,
 * and would underestimate others; it widens the spread instead.
 */
export function calibrate(observations: readonly ComputeObservation[]): ComputeCalibration {
  const votes = observations.flatMap((observation) => indicatedOutputs(observation) ?? []);
  const few = votes.filter((vote) => vote === "sequences").length;
  // The larger formula wins a tie.
  const outputs: ReservedOutputs = few * 2 > votes.length ? "sequences" : "batch";
  const ratios = observations.map((observation) => ratioTo(outputs, observation)).filter(isPlausible);
  const scale = Math.max(1, ...ratios);
  if (ratios.length === 0 || votes.length === 0) return { ...unobserved, scale };
  return { outputs, scale, observations: ratios.length, spread: 1 - Math.min(...ratios) / scale };
}

/** Which outputs an observation indicates; undefined if it fits both formulas or neither. */
function indicatedOutputs(observation: ComputeObservation): ReservedOutputs | undefined {
  const { observedBytes, batchBytes, sequencesBytes } = observation;
  const [toBatch, toSequences] = [ratioTo("batch", observation), ratioTo("sequences", observation)];
  if (!isPlausible(toBatch) && !isPlausible(toSequences)) return undefined;
  if (batchBytes < sequencesBytes * significantRatio) return undefined;
  const isLess = observedBytes < batchBytes * clearlyLess;
  return isLess && Math.abs(Math.log(toSequences)) < Math.abs(Math.log(toBatch)) ? "sequences" : "batch";
}

const ratioTo = (outputs: ReservedOutputs, { observedBytes, batchBytes, sequencesBytes }: ComputeObservation): number =>
  observedBytes / (outputs === "batch" ? batchBytes : sequencesBytes);

const isPlausible = (ratio: number): boolean => ratio >= plausible.min && ratio <= plausible.max;

/**
 * For which tokens of a batch an engine build reserves logits: all of them (embedded engine, llama.cpp until mid-2026),
 * or one per sequence (llama-server since then). The difference is about vocabulary × batch × 4 bytes.
 */
type ReservedOutputs = "batch" | "sequences";

/**
 * Bytes of the compute buffer: what llama.cpp's graph allocator reserves for the largest phase of a batch. Each phase
 * needs a fixed number of F32 values per token:
 *
 * | phase     | numbers per token                                                              |
 * |-----------|--------------------------------------------------------------------------------|
 * | logits    | vocabulary + 3 × width                                                         |
 * | block     | 3 × feed-forward (sum over the active experts) + 4 × width, see `blockNumbers` |
 * | attention | context × heads, and the projections; only without flash attention             |
 * | latent    | queries and results before and after expansion                                 |
 * | recurrent | projections, convolution, scan with its state                                  |
 *
 * Determined from the allocator (`bench fit-grid`): most models need exactly the block's numbers, plus or minus one
 * width due to fragmentation.
 */
export function computeBytes(model: ModelDimensions, load: LoadShape, outputs: ReservedOutputs): number {
  const batch = roundedTo(batchOf(load), load.parallel);
  const outputRows = outputs === "batch" ? batch : Math.min(batch, load.parallel);
  const logits = model.isEncoder ? 0 : (model.vocabulary * outputRows) / batch;
  const { latent, heads, keyLength, valueLength } = model;
  const expanded = latent && 2 * heads * (keyLength + valueLength) + heads * latent.keyLength + 4 * model.width;
  const block = Math.max(blockNumbers(model), expanded ?? 0, recurrentNumbers(model, batch, load.parallel));
  const masks = maskNumbers(model, load);
  const phases = [
    logits + 3 * model.width,
    // With few outputs, their rows are allocated beside those of the last block.
    masks + block + (outputs === "batch" ? 0 : logits + model.width),
    ...(load.hasFlashAttention ? [] : [2 * masks + scoreNumbers(model, load)]),
  ];
  return Math.ceil(4 * batch * Math.max(...phases)) + (isQuantised(load) ? rotationBytes : 0);
}

/**
 * Share by which the buffer may be larger due to fragmentation: the logits start where the last result ends, which is
 * placed by best fit. Observed with small vocabularies: up to the masks plus one width.
 */
export function outputSlack(model: ModelDimensions, load: LoadShape, outputs: ReservedOutputs): number {
  if (outputs === "sequences" || model.isEncoder) return 0;
  const batch = roundedTo(batchOf(load), load.parallel);
  const behind = maskNumbers(model, load) + 4 * model.width;
  return Math.max(0, (4 * batch * (model.vocabulary + behind)) / computeBytes(model, load, outputs) - 1);
}

/** Positions, indices and attention masks in F16: half a number for each cell that a token may attend to. */
function maskNumbers(model: ModelDimensions, load: LoadShape): number {
  const { hasFull, hasSliding } = layerSums(model);
  const full = hasFull ? paddedContext(load) / 2 : 0;
  const sliding = hasSliding ? slidingCells(model, load) / 2 : 0;
  return full + sliding + 7;
}

/**
 * Gate, up and their product, plus four copies of the stream. The results of the active experts reuse the space of gate
 * and up, or, if that is too small, are placed after everything else.
 */
function blockNumbers({ feedForward, isGated, experts, width }: ModelDimensions): number {
  // Without a gate the activation is computed in place.
  const dense = (isGated ? 3 : 1) * feedForward + 4 * width;
  if (experts === undefined) return dense;
  const inner = experts.used * experts.feedForward;
  const results = experts.used * width;
  const mixed = 3 * inner + 4 * width + (results > 2 * inner ? results + width : 0);
  return experts.hasDenseLayers ? Math.max(dense, mixed) : mixed;
}

function recurrentNumbers(model: ModelDimensions, batch: number, parallel: number): number {
  const { recurrent, width } = model;
  if (recurrent === undefined || recurrent.state === 0) return 0;
  const isHybrid = layerSums(model).largestKeyWidth > 0;
  const { projected, convolved, inner, state } = recurrent;
  return projected + 2 * convolved + 2 * inner + (isHybrid ? 2 : 1) * width + (parallel * state) / batch;
}

/** Attention that stores its scores: heads × cells, plus queries, keys, values and results twice. */
function scoreNumbers(model: ModelDimensions, load: LoadShape): number {
  const { heads, keyLength, width } = model;
  return paddedContext(load) * heads + 3 * width + 2 * heads * keyLength + 2 * layerSums(model).largestKeyWidth;
}

/** Matrices that rotate keys before they are quantised. */
const rotationBytes = 81_920;
const isQuantised = ({ cacheType }: LoadShape): boolean => !["f32", "f16", "bf16"].includes(cacheType);

const roundedTo = (value: number, step: number): number => Math.ceil(value / step) * step;

/** Bytes per number, from ggml's block layouts. */
const bytesPerNumber: Readonly<Record<CacheType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  q8_0: 34 / 32,
  q5_1: 24 / 32,
  q5_0: 22 / 32,
  q4_1: 20 / 32,
  q4_0: 18 / 32,
  iq4_nl: 18 / 32,
};

/** llama.cpp allocates caches in multiples of this many tokens. */
const cellTokens = 256;

const padded = (tokens: number): number => roundedTo(tokens, cellTokens);

/** Tokens of context that are allocated for one sequence. */
const paddedContext = ({ contextTokens }: LoadShape): number => padded(contextTokens);

/** Tokens that are computed together: at most those of all sequences. */
const batchOf = (load: LoadShape): number =>
  Math.max(1, Math.min(load.batchTokens, paddedContext(load) * load.parallel));

/** Cells of a sliding-window layer: the window plus one batch, at most the context. */
const slidingCells = ({ window }: ModelDimensions, load: LoadShape): number =>
  padded(Math.min(paddedContext(load), window + batchOf(load)));

/**
 * Bytes of the key/value cache: Σ over layers of sequences · cells · (key + value). Each sequence has cells of its own.
 * `llama_kv_cache` and `llama_kv_cache_iswa` of llama.cpp.
 */
export function cacheBytes(model: ModelDimensions, load: LoadShape): number {
  const { slidingWidth } = layerSums(model);
  const sliding = slidingWidth === 0 ? 0 : slidingCells(model, load) * slidingWidth;
  return fullCacheBytes(model, load) + load.parallel * sliding * bytesPerNumber[load.cacheType];
}

/** The part of `cacheBytes` of the layers that keep all tokens. */
export function fullCacheBytes(model: ModelDimensions, load: LoadShape): number {
  return load.parallel * paddedContext(load) * layerSums(model).fullWidth * bytesPerNumber[load.cacheType];
}

/** Bytes of the recurrent state, which is always F32 and independent of the context (`llama_memory_recurrent`). */
export function stateBytes(model: ModelDimensions, { parallel }: Pick<LoadShape, "parallel">): number {
  const { recurrent } = model;
  if (recurrent === undefined) return 0;
  return 4 * parallel * (recurrent.convolutionState + recurrent.state) * layerSums(model).recurrent;
}

/** What the formulas need of all layers. */
interface LayerSums {
  /** Numbers per token that are cached for all of the context, and for the window. */
  readonly fullWidth: number;
  readonly slidingWidth: number;
  /** Whether there is attention to all of the context, and to the window. */
  readonly hasFull: boolean;
  readonly hasSliding: boolean;
  readonly largestKeyWidth: number;
  /** Number of recurrent layers. */
  readonly recurrent: number;
}

const knownSums = new WeakMap<ModelDimensions["layers"], LayerSums>();

/** Added up once: each plan computes several estimates of all models. */
function layerSums({ layers }: Pick<ModelDimensions, "layers">): LayerSums {
  return getOrInsert(knownSums, layers, () => {
    const widthOf = (chosen: ModelDimensions["layers"]) =>
      chosen.reduce((sum, { keyWidth, valueWidth }) => sum + keyWidth + valueWidth, 0);
    const [full, sliding] = [layers.filter(({ isSliding }) => !isSliding), layers.filter(({ isSliding }) => isSliding)];
    return {
      fullWidth: widthOf(full),
      slidingWidth: widthOf(sliding),
      hasFull: full.some(({ keyWidth }) => keyWidth > 0),
      hasSliding: sliding.some(({ keyWidth }) => keyWidth > 0),
      largestKeyWidth: Math.max(...layers.map(({ keyWidth }) => keyWidth)),
      recurrent: layers.filter(({ isRecurrent }) => isRecurrent).length,
    };
  });
}
