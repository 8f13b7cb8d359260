import { InvalidRequest } from "../../api/errors.ts";
import { type NextStep, advice } from "../../api/next-step.ts";
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
  const companion =
    metadata["general.type"] === "mmproj"
      ? companionArchitectures.get("clip")
      : companionArchitectures.get(architecture);
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

  const family = ollamaArchitectures.get(architecture);
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
export const knownArchitectures: ReadonlySet<string> = new Set(
  `afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet bloom chameleon chatglm
  codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4 dots1
  dots3note dream ernie4_5 ernie4_5-moe eurobert exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma-embedding gemma2
  gemma3 gemma3n gemma4 glm-dsa glm4 glm4moe gpt-oss gpt2 gptneox granite granite_swa granitehybrid granitemoe
  graniteswitch grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 jais jais2 jamba jina-bert-v2
  jina-bert-v3 kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe llama llama-embed llama4 maincoder mamba mamba2
  mellum mimo2 minicpm minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 modern-bert mpt muse-glimmer nanbeige
  nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr
  pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3 plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe
  qwen3next qwen3vl qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 stablelm
  starcoder starcoder2 step35 t5 t5encoder talkie xverse`.split(/\s+/),
);

/** Supported by llama.cpp, but not models that answer prompts on their own. */
export const companionArchitectures: ReadonlyMap<string, string> = new Map([
  ["clip", "a projector (mmproj), which adds vision to another model"],
  ["dflash", "a draft model, which only speeds up another model"],
  ["eagle3", "a draft model, which only speeds up another model"],
  ["gemma4-assistant", "a draft model, which only speeds up another model"],
  ["pockettts", "a speech synthesiser"],
  ["qwen3tts", "a speech synthesiser"],
  ["wavtokenizer-dec", "a decoder for speech"],
]);

/**
 * Names that only Ollama's own engine uses (`llama/compat` in its source translates them during a load), with the family
 * that they stand for.
 */
export const ollamaArchitectures: ReadonlyMap<string, string> = new Map([
  ["deepseekocr", "DeepSeek-OCR"],
  ["glm4moelite", "GLM-4.7 Flash"],
  ["glmocr", "GLM-OCR"],
  ["gptoss", "gpt-oss"],
  ["mllama", "Llama 3.2 Vision"],
  ["nemotron_h_omni", "Nemotron Omni"],
  ["olmo3", "OLMo 3"],
  ["qwen25vl", "Qwen2.5-VL"],
]);

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
