import { InvalidRequest } from "../../api/errors.ts";
import { type NextStep, advice } from "../../api/next-step.ts";
import architectures from "./architectures.json" with { type: "json" };
import { weightCount, type GgufHeader, type InspectGguf, type TensorMark } from "./header.ts";

/** The part of a header that rules check. */
interface Marks {
  has(key: string): boolean;
  tensor(mark: TensorMark): boolean;
  /** Returns the rows of a matrix; undefined if it is missing. */
  rows(mark: TensorMark): number | undefined;
}

const useOllama = advice("serve it with Ollama");
const otherFile: readonly NextStep[] = [
  useOllama,
  {
    step: "pullModelThat",
    that: "in llama.cpp's own format, by its makers or ggml-org",
    example: "hf.co/ORGANIZATION/REPOSITORY",
  },
];

/**
 * Rules for files in Ollama's own format whose architecture name llama.cpp uses, too: it would reject them, or load them
 * with wrong defaults and generate nonsense. The conditions are those of Ollama's `llama/compat`, except for files that
 * llama.cpp loads unchanged.
 */
const ollamaFormats: Readonly<Record<string, (marks: Marks) => boolean>> = {
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
 * Returns why the embedded engine can't load a model; undefined when it can, as far as the header shows. The reason
 * begins with "it" or "its", which stands for the file. llama.cpp itself reports only "failed to load model", or nothing.
 */
export function incompatibilityOf(
  header: GgufHeader,
): { readonly reason: string; readonly next: readonly NextStep[] } | undefined {
  const { architecture, metadata, tensors } = header;
  const companion = metadata["general.type"] === "mmproj" ? companions.get("clip") : companions.get(architecture);
  if (companion !== undefined)
    return { reason: `it is ${companion}`, next: [advice("use the model that it belongs to")] };
  if (metadata["general.type"] === "adapter" || metadata["adapter.type"] !== undefined)
    return {
      reason: "it is an adapter (LoRA), which changes another model",
      next: [advice("use that model"), advice("use a model that has the adapter merged in")],
    };
  const parts = metadata["split.count"];
  if (typeof parts === "number" && parts > 1)
    return {
      reason: `it is one of ${parts} parts of a split model`,
      next: [advice("join the parts (llama-gguf-split --merge)"), ...otherFile],
    };

  const family = familiesOfOllama.get(architecture);
  if (family !== undefined)
    return {
      reason: `it is ${family} in Ollama's own format (architecture ${architecture}), which llama.cpp can't read`,
      next: otherFile,
    };
  if (!knownArchitectures.has(architecture))
    return {
      reason: `its architecture ${architecture} is not supported by the embedded engine's llama.cpp`,
      next: otherFile,
    };
  if (tensors.vision !== undefined || tensors.audio !== undefined)
    return {
      reason: "it contains a vision or audio encoder, which llama.cpp expects in a separate file",
      next: otherFile,
    };

  const marks: Marks = {
    has: (key) => metadata[key] !== undefined,
    tensor: (mark) => tensors[mark] !== undefined,
    rows: (mark) => tensors[mark]?.shape[1],
  };
  // Extra tensors are rejected in every architecture; llama.cpp's own files name them blk.N.nextn.
  if (ollamaFormats[architecture]?.(marks) === true || marks.tensor("multiToken"))
    return {
      reason: `it is ${architecture} in Ollama's own format, which llama.cpp would reject or misread`,
      next: otherFile,
    };

  if (weightCount(header) === 0)
    return { reason: "it contains a vocabulary and no weights", next: [advice("use the model itself")] };
  if (!marks.has("tokenizer.ggml.model") || header.vocabularySize === undefined || header.vocabularySize === 0)
    return {
      reason: "it contains no tokenizer",
      next: [advice("convert it again together with its tokenizer"), ...otherFile],
    };
  return undefined;
}

/**
 * Architectures that the embedded engine's llama.cpp supports (node-llama-cpp 3.21.1, llama.cpp v0.4.0). Determined by
 * loading a test model under each name in its source or library: these did not fail with "unknown model architecture".
 * Must be determined again when the engine's version changes.
 */
const knownArchitectures = new Set(architectures.known.flatMap((line) => line.split(" ")));

/** Supported by llama.cpp, but not models that answer prompts on their own. */
const companions = new Map(Object.entries(architectures.companions));

/**
 * Names that only Ollama's own engine uses (`llama/compat` in its source translates them during a load), with the family
 * that they stand for.
 */
const familiesOfOllama = new Map(Object.entries(architectures.ofOllama));

/**
 * Throws `InvalidRequest` for a model, which engines would accept as an adapter and ignore. Throws `LoadFailed` for a file
 * that is not a GGUF file.
 */
export async function checkAdapter(inspect: InspectGguf, file: string, shown: string, signal: AbortSignal) {
  const { metadata } = await inspect(file, signal);
  if (metadata["general.type"] === "adapter") return;
  throw new InvalidRequest(`${shown} is a model, not an adapter`, {
    next: advice("use a LoRA adapter that llama.cpp's convert_lora_to_gguf.py made"),
  });
}
