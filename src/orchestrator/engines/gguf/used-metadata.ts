/** Keys of a GGUF header that this program uses. Other keys and long values are not kept. */
const generalKeys: ReadonlySet<string> = new Set([
  "adapter.type",
  "general.architecture",
  "general.file_type",
  "general.type",
  "split.count",
  "tokenizer.ggml.model",
]);

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
