/**
 * The used part of a GGUF header. It is read in a child process, because a damaged header can crash or hang the parser, and
 * is at most about 70 KB, even if the file has hundreds of megabytes of keys and tensors.
 */
export interface GgufHeader {
  readonly architecture: string;
  /** The entries of `usedMetadata`. Integers beyond 2^53 and non-finite numbers are strings. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: Readonly<Partial<Record<TensorMark, GgufTensor>>>;
  /** Number of weights by the type of their tensors (`F32`, `Q4_K`); empty without tensors. */
  readonly weightsByType: Readonly<Record<string, number>>;
  /** Capabilities in the chat template; absent without one. */
  readonly template?: { readonly hasTools: boolean; readonly hasThinking: boolean };
  /** Bytes of all tensors. */
  readonly weightsBytes: number;
  /** Size of the file, which contains the data of every tensor. */
  readonly fileBytes: number;
  /** Length of `tokenizer.ggml.tokens`, which is not in `metadata`; absent without a tokenizer. */
  readonly vocabularySize?: number;
}

export interface GgufTensor {
  readonly name: string;
  /** `F32`, `Q4_K`, ... */
  readonly type: string;
  /** Row length first, then the number of rows. */
  readonly shape: readonly number[];
}

/** Reads the header of one file (absolute path). Throws `LoadFailed` with what is wrong with the file. */
export type InspectGguf = (file: string, signal: AbortSignal) => Promise<GgufHeader>;

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

/** Result of the parsing process for one file; `damage` begins with "it" or "its", which stands for the file. */
export type GgufAnswer = { readonly header: GgufHeader } | { readonly damage: string };

/** Keys of a GGUF header that this program uses. Other keys and long values are not kept. */
const generalKeys: ReadonlySet<string> = new Set(
  "adapter.type general.architecture general.file_type general.type split.count tokenizer.ggml.model".split(" "),
);

/** Keys after the name of the architecture and a dot: `llama.block_count`. */
const architectureKeys: ReadonlySet<string> = new Set(
  `attention.head_count attention.head_count_kv attention.key_length attention.key_length_mla attention.key_length_swa
  attention.layer_norm_rms_epsilon attention.recurrent_layers attention.shared_kv_layers attention.sliding_window
  attention.sliding_window_pattern attention.value_length attention.value_length_swa block_count context_length
  embedding_length expert_count expert_feed_forward_length expert_used_count feed_forward_length
  full_attention_interval image_token_id interleave_moe_layer_step kda.head_dim leading_dense_block_count
  nextn_predict_layers pooling_type rope.dimension_sections rope.freq_base rope.global.freq_base
  rope.mrope_interleaved rope.scaling.beta_fast rope.scaling.mscale_all_dim rope.scaling_beta rope.swa.dimension_count
  rope.swa.freq_base shortconv.l_cache ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size
  ssm.time_step_rank ssm.v_head_reordered token_shift_count vision.block_count vocab_size wkv.head_size`.split(/\s+/),
);

/** Longer arrays (vocabularies, merges) are not used; arrays with one value per layer are shorter. */
export const longestUsedArray = 1_024;
/** Maximum length of a kept text: names of architectures, types and tokenizers. */
const longestUsedText = 256;
/** Maximum size of one model's metadata as JSON. A model with a hundred layers and three values per layer has 1,500. */
const maxUsedCharacters = 64 * 1024;

/** Whether a key is used in files of that architecture, or of any architecture if it is undefined. */
export function isUsedKey(key: string, architecture?: string): boolean {
  if (generalKeys.has(key)) return true;
  const dot = key.indexOf(".");
  if (architecture !== undefined && key.slice(0, dot) !== architecture) return false;
  return dot !== -1 && architectureKeys.has(key.slice(dot + 1));
}

/**
 * Returns the used part of a header's metadata: at most 64 KiB as JSON. Values beyond that are omitted.
 */
export function usedMetadata(
  valueOf: (key: string) => unknown,
  architecture: string | undefined,
): Readonly<Record<string, unknown>> {
  const own = architecture === undefined ? [] : [...architectureKeys].map((key) => `${architecture}.${key}`);
  const kept: [string, unknown][] = [];
  let characters = 0;
  for (const key of [...generalKeys, ...own]) {
    const value = valueOf(key);
    if (!isUsedValue(value)) continue;
    characters += key.length + JSON.stringify(value).length;
    if (characters > maxUsedCharacters) break;
    kept.push([key, value]);
  }
  return Object.fromEntries(kept);
}

function isUsedValue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length <= longestUsedArray && value.every(isUsedScalar);
  return isUsedScalar(value) || (typeof value === "string" && value.length <= longestUsedText);
}

const isUsedScalar = (value: unknown): boolean => typeof value === "number" || typeof value === "boolean";
