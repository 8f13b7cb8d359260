import type { CacheType, LoadShape } from "../api/types.ts";
import type { ModelDimensions } from "./dimensions.ts";

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

const padded = (tokens: number): number => Math.ceil(tokens / cellTokens) * cellTokens;

/** Tokens of context that are allocated for one sequence. */
export const paddedContext = ({ contextTokens }: LoadShape): number => padded(contextTokens);

/** Tokens that are computed together: at most those of all sequences. */
export const batchOf = (load: LoadShape): number =>
  Math.max(1, Math.min(load.batchTokens, paddedContext(load) * load.parallel));

/** Cells of a sliding-window layer: the window plus one batch, at most the context. */
export const slidingCells = ({ window }: ModelDimensions, load: LoadShape): number =>
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
export function layerSums({ layers }: Pick<ModelDimensions, "layers">): LayerSums {
  const known = knownSums.get(layers);
  if (known !== undefined) return known;
  const widthOf = (chosen: ModelDimensions["layers"]) =>
    chosen.reduce((sum, { keyWidth, valueWidth }) => sum + keyWidth + valueWidth, 0);
  const [full, sliding] = [layers.filter(({ isSliding }) => !isSliding), layers.filter(({ isSliding }) => isSliding)];
  const sums = {
    fullWidth: widthOf(full),
    slidingWidth: widthOf(sliding),
    hasFull: full.some(({ keyWidth }) => keyWidth > 0),
    hasSliding: sliding.some(({ keyWidth }) => keyWidth > 0),
    largestKeyWidth: Math.max(...layers.map(({ keyWidth }) => keyWidth)),
    recurrent: layers.filter(({ isRecurrent }) => isRecurrent).length,
  };
  knownSums.set(layers, sums);
  return sums;
}
