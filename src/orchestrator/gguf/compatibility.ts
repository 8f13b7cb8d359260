import { weightCount } from "./facts.ts";
import { companionArchitectures, knownArchitectures, ollamaArchitectures } from "./architectures.ts";
import type { GgufHeader } from "./inspect.ts";
import type { TensorMark } from "./tensor-marks.ts";

/** What a rule looks at. */
interface Marks {
  has(key: string): boolean;
  tensor(mark: TensorMark): boolean;
  /** Rows of a matrix; undefined without it. */
  rows(mark: TensorMark): number | undefined;
}

const instead =
  "serve it with Ollama, or pull_model a llama.cpp GGUF of it (hf.co/ORGANISATION/REPOSITORY, by its makers or ggml-org)";

/**
 * Marks of files in Ollama's own form under an architecture name that llama.cpp has too: it would refuse them, or read
 * them with wrong defaults and babble. The conditions are those by which Ollama's `llama/compat` recognises its files,
 * as far as llama.cpp can't load them as they are.
 */
const ollamaForms: Readonly<Record<string, (marks: Marks) => boolean>> = {
  gemma3: ({ has, tensor }) =>
    tensor("dense") ||
    !has("gemma3.attention.layer_norm_rms_epsilon") ||
    (has("gemma3.rope.global.freq_base") && !has("gemma3.rope.freq_base")),
  gemma3n: ({ rows }) => {
    const perLayer = rows("perLayerEmbedding");
    return perLayer !== undefined && perLayer !== rows("embedding");
  },
  laguna: ({ has, tensor }) =>
    has("laguna.rope.swa.dimension_count") || has("laguna.rope.swa.freq_base") || tensor("gatedAttention"),
  lfm2: ({ tensor }) => tensor("outputNorm") && !tensor("embeddingNorm"),
  mistral3: ({ has }) =>
    ["beta_fast", "mscale_all_dim"].some((key) => has(`mistral3.rope.scaling.${key}`)) ||
    has("mistral3.rope.scaling_beta"),
  nemotron_h_moe: ({ tensor }) => tensor("latentFeedForward"),
  qwen35: ({ has }) => qwen35Keys.some((key) => has(`qwen35.${key}`)),
  qwen35moe: ({ has }) => qwen35Keys.some((key) => has(`qwen35moe.${key}`)),
  qwen3next: ({ tensor }) => tensor("stateStep"),
  qwen3vl: ({ has }) => !has("qwen3vl.rope.dimension_sections"),
  qwen3vlmoe: ({ has }) => !has("qwen3vlmoe.rope.dimension_sections"),
};

const qwen35Keys = ["vision.block_count", "image_token_id", "ssm.v_head_reordered", "rope.mrope_interleaved"];

/**
 * Why the embedded engine can't load a model, and what to use instead; undefined when it can, as far as a header tells.
 * Begins with "it", which stands for the file. Without this, llama.cpp says "failed to load model", or nothing.
 */
export function unsupportedReason(header: GgufHeader): string | undefined {
  const { architecture, metadata, tensors } = header;
  const companion =
    metadata["general.type"] === "mmproj"
      ? companionArchitectures.get("clip")
      : companionArchitectures.get(architecture);
  if (companion !== undefined) return `it is ${companion}: use the model that it belongs to`;
  if (metadata["general.type"] === "adapter" || metadata["adapter.type"] !== undefined)
    return "it is an adapter (LoRA), which changes another model: use that model, or one that has the adapter merged in";
  const parts = metadata["split.count"];
  if (typeof parts === "number" && parts > 1)
    return `it is one of ${parts} parts of a split model: join them first (llama-gguf-split --merge), or ${instead}`;

  const family = ollamaArchitectures.get(architecture);
  if (family !== undefined)
    return `it is ${family} in Ollama's own form (architecture ${architecture}), which llama.cpp can't read: ${instead}`;
  if (!knownArchitectures.has(architecture))
    return `its architecture ${architecture} is not known to the embedded engine's llama.cpp: ${instead}`;
  if (tensors.vision !== undefined || tensors.audio !== undefined)
    return `it holds a vision or audio encoder in the same file, which llama.cpp expects in a file of its own: ${instead}`;

  const marks: Marks = {
    has: (key) => metadata[key] !== undefined,
    tensor: (mark) => tensors[mark] !== undefined,
    rows: (mark) => tensors[mark]?.shape[1],
  };
  // Extra tensors are refused whatever the architecture; llama.cpp's own files keep these under blk.N.nextn.
  if (ollamaForms[architecture]?.(marks) === true || marks.tensor("multiToken"))
    return `it is ${architecture} in Ollama's own form, which llama.cpp would refuse or misread: ${instead}`;

  if (weightCount(header) === 0) return `it holds a vocabulary and no weights: use the model itself`;
  if (!marks.has("tokenizer.ggml.model") || header.vocabularySize === undefined || header.vocabularySize === 0)
    return `it holds no tokenizer: convert it again together with its tokenizer, or ${instead}`;
  return undefined;
}
