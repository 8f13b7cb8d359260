import type { Capability } from "../../api/types.ts";
import { defined } from "../../util/values.ts";
import architectures from "./architectures.json" with { type: "json" };
import usedKeys from "./used-keys.json" with { type: "json" };
import types from "./types.json" with { type: "json" };

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
const generalKeys: ReadonlySet<string> = new Set(usedKeys.general);

/** Keys after the name of the architecture and a dot: `llama.block_count`. */
const architectureKeys: ReadonlySet<string> = new Set(usedKeys.ofArchitecture);

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

/** Architectures that only compute embeddings. */
const encoders: ReadonlySet<string> = new Set(architectures.encoders);

/** Returns the facts in a header; missing ones are absent. */
export function factsFromHeader(header: GgufHeader) {
  const { architecture, metadata } = header;
  const vocabularySize =
    header.vocabularySize ?? number(metadata[`${architecture}.vocab_size`]) ?? header.tensors.embedding?.shape[1];
  return {
    architecture,
    metadata,
    capabilities: capabilitiesOf(header),
    ...defined({
      parameterSize: printedCount(weightCount(header)),
      quantization: quantizationOf(header),
      contextTokens: number(metadata[`${architecture}.context_length`]),
      layerCount: number(metadata[`${architecture}.block_count`]),
      embeddingLength: number(metadata[`${architecture}.embedding_length`]),
      vocabularySize,
    }),
  };
}

/** Returns the number of weights in all tensors. */
export function weightCount({ weightsByType }: GgufHeader): number {
  return Object.values(weightsByType).reduce((sum, each) => sum + each, 0);
}

/** Formats a number of weights like Ollama: `134.52M`, `7.6B`, `70B`; undefined for a file without weights. */
export function printedCount(count: number): string | undefined {
  const billions = count / 1e9;
  const millions = count / 1e6;
  if (count <= 0) return undefined;
  if (billions >= 1) return `${Number.isInteger(billions) ? billions : billions.toFixed(1)}B`;
  if (millions >= 1) return `${Number.isInteger(millions) ? millions : millions.toFixed(2)}M`;
  return count >= 1e3 ? `${(count / 1e3).toFixed(0)}K` : String(count);
}

/** Returns the quantization that the file names (`Q4_K_M`), else the type of most of its weights. */
function quantizationOf({ metadata, weightsByType }: GgufHeader): string | undefined {
  const stated = fileTypeNames.get(number(metadata["general.file_type"]) ?? -1);
  return stated ?? Object.entries(weightsByType).toSorted(([, a], [, b]) => b - a)[0]?.[0];
}

function capabilitiesOf({ architecture, metadata, tensors, template }: GgufHeader): readonly Capability[] {
  const capabilities: Capability[] = [];
  const pooling = number(metadata[`${architecture}.pooling_type`]) ?? 0;
  // A projector (clip) has vision, but can't answer on its own.
  if (encoders.has(architecture) || pooling !== 0) capabilities.push("embedding");
  else if (architecture !== "clip") capabilities.push("completion");
  if (template?.hasTools === true) capabilities.push("tools");
  if (template?.hasThinking === true) capabilities.push("thinking");
  if (tensors.vision !== undefined || metadata[`${architecture}.vision.block_count`] !== undefined)
    capabilities.push("vision");
  if (tensors.audio !== undefined) capabilities.push("audio");
  return capabilities;
}

/**
 * Derives capabilities from a chat template by Ollama's rules (`server/images.go`) and by the switches of newer templates.
 * Called where the header is parsed, so that the template need not be kept.
 */
export function templateFacts(template: string): NonNullable<GgufHeader["template"]> {
  // One that has only calls (`tool_calls`) doesn't tell the model which tools there are.
  return { hasTools: /tools/.test(template), hasThinking: isThinkingTemplate(template) };
}

function isThinkingTemplate(template: string): boolean {
  if (template.includes("<think>") && template.includes("</think>")) return true;
  if (/enable_thinking|reasoning_effort/.test(template)) return true;
  // Templates that remove earlier reasoning from a conversation belong to models that reason.
  return /content\.split\(['"]<\/think>['"]\)/.test(template) && !template.includes("reasoning_content");
}

function number(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/**
 * Tensor types by their number in a file: `enum ggml_type` and the block structures of llama.cpp's `ggml-common.h`. Rows
 * consist of blocks of `blockLength` numbers, `blockBytes` each. Missing numbers were removed from the format.
 */
export const tensorTypes = new Map(
  (types.tensors as unknown as readonly (readonly [number, string, number, number])[]).map(
    ([id, name, blockLength, blockBytes]) => [id, { name, blockLength, blockBytes }],
  ),
);

/**
 * Names of quantizations of whole files by `general.file_type`: `enum llama_ftype` of llama.cpp's `llama.h`, in the spelling
 * of Ollama.
 */
export const fileTypeNames: ReadonlyMap<number, string> = new Map(
  Object.entries(types.files).map(([id, name]) => [Number(id), name]),
);
