import type { GgufTensor } from "./inspect.ts";

/**
 * Tensors that rules use to recognize files; a header's other tensors are only summed up. The names of encoders are those
 * of llama.cpp's `clip.cpp`, of Ollama, and of the models' authors.
 */
const patterns = {
  audio: /^(a|audio_tower|model\.audio_tower)\./,
  dense: /^dense\.0\.weight$/,
  embedding: /^token_embd\.weight$/,
  embeddingNorm: /^token_embd_norm\.weight$/,
  gatedAttention: /^blk\.0\.attn_g\.weight$/,
  latentFeedForward: /^blk\.[01]\.ffn_latent_in/,
  multiToken: /^mtp\./,
  outputNorm: /^output_norm\.weight$/,
  perLayerEmbedding: /^per_layer_token_embd\.weight$/,
  stateStep: /\.ssm_dt$/,
  vision: /^(v|mm|s|vision_tower|vision_model|sam_model|model\.vision_tower)\./,
} as const;

export type TensorMark = keyof typeof patterns;

/** A file's first tensor of each mark. */
export type MarkedTensors = Readonly<Partial<Record<TensorMark, GgufTensor>>>;

const marks = Object.keys(patterns) as readonly TensorMark[];

/** Summary of a file's tensors. */
export interface TensorSummary {
  readonly tensors: Partial<Record<TensorMark, GgufTensor>>;
  /** Number of weights by type. */
  readonly weightsByType: Record<string, number>;
}

export function addTensor({ tensors, weightsByType }: TensorSummary, tensor: GgufTensor): void {
  for (const mark of marks) if (patterns[mark].test(tensor.name)) tensors[mark] ??= tensor;
  const weights = tensor.shape.reduce((product, each) => product * each, 1);
  weightsByType[tensor.type] = (weightsByType[tensor.type] ?? 0) + weights;
}
