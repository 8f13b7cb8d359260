import type { Capability } from "../../api/types.ts";
import type { GgufHeader } from "./header.ts";
import types from "./types.json" with { type: "json" };

/** Architectures that only compute embeddings. */
const encoders: ReadonlySet<string> = new Set(
  (
    "bert eurobert gemma-embedding jina-bert-v2 jina-bert-v3 llama-embed modern-bert neo-bert nomic-bert " +
    "nomic-bert-moe t5encoder"
  ).split(" "),
);

/** Returns the facts in a header; missing ones are absent. */
export function factsFromHeader(header: GgufHeader) {
  const { architecture, metadata } = header;
  const vocabularySize =
    header.vocabularySize ?? number(metadata[`${architecture}.vocab_size`]) ?? header.tensors.embedding?.shape[1];
  return {
    architecture,
    metadata,
    capabilities: capabilitiesOf(header),
    ...present("parameterSize", printedCount(weightCount(header))),
    ...present("quantization", quantizationOf(header)),
    ...present("contextTokens", number(metadata[`${architecture}.context_length`])),
    ...present("layerCount", number(metadata[`${architecture}.block_count`])),
    ...present("embeddingLength", number(metadata[`${architecture}.embedding_length`])),
    ...present("vocabularySize", vocabularySize),
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

function present<Key extends string, Value>(key: Key, value: Value | undefined): { readonly [K in Key]?: Value } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [K in Key]?: Value };
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
