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
  const each = bytesPerNumber[load.cacheType];
  const [full, sliding] = [paddedContext(load), slidingCells(model, load)];
  return model.layers.reduce(
    (bytes, { keyWidth, valueWidth, isSliding }) =>
      bytes + load.parallel * (isSliding ? sliding : full) * (keyWidth + valueWidth) * each,
    0,
  );
}

/** Bytes of the recurrent state, which is always F32 and independent of the context (`llama_memory_recurrent`). */
export function stateBytes({ layers, recurrent }: ModelDimensions, { parallel }: Pick<LoadShape, "parallel">): number {
  if (recurrent === undefined) return 0;
  const each = recurrent.convolutionState + recurrent.state;
  return 4 * parallel * each * layers.filter(({ isRecurrent }) => isRecurrent).length;
}
