import type { Capability } from "../../api/types.ts";
import type { GgufHeader } from "./header.ts";

/** Architectures that only compute embeddings. */
const encoders: ReadonlySet<string> = new Set([
  "bert",
  "eurobert",
  "gemma-embedding",
  "jina-bert-v2",
  "jina-bert-v3",
  "llama-embed",
  "modern-bert",
  "neo-bert",
  "nomic-bert",
  "nomic-bert-moe",
  "t5encoder",
]);

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

/** Memory layout of a tensor type: rows consist of blocks of `blockLength` numbers, `blockBytes` each. */
interface TensorType {
  readonly name: string;
  readonly blockLength: number;
  readonly blockBytes: number;
}

const type = (name: string, blockLength: number, blockBytes: number): TensorType => ({ name, blockLength, blockBytes });

/**
 * Tensor types by their number in a file: `enum ggml_type` and the block structures of llama.cpp's `ggml-common.h`.
 * Missing numbers were removed from the format.
 */
export const tensorTypes: ReadonlyMap<number, TensorType> = new Map([
  [0, type("F32", 1, 4)],
  [1, type("F16", 1, 2)],
  [2, type("Q4_0", 32, 18)],
  [3, type("Q4_1", 32, 20)],
  [6, type("Q5_0", 32, 22)],
  [7, type("Q5_1", 32, 24)],
  [8, type("Q8_0", 32, 34)],
  [9, type("Q8_1", 32, 36)],
  [10, type("Q2_K", 256, 84)],
  [11, type("Q3_K", 256, 110)],
  [12, type("Q4_K", 256, 144)],
  [13, type("Q5_K", 256, 176)],
  [14, type("Q6_K", 256, 210)],
  [15, type("Q8_K", 256, 292)],
  [16, type("IQ2_XXS", 256, 66)],
  [17, type("IQ2_XS", 256, 74)],
  [18, type("IQ3_XXS", 256, 98)],
  [19, type("IQ1_S", 256, 50)],
  [20, type("IQ4_NL", 32, 18)],
  [21, type("IQ3_S", 256, 110)],
  [22, type("IQ2_S", 256, 82)],
  [23, type("IQ4_XS", 256, 136)],
  [24, type("I8", 1, 1)],
  [25, type("I16", 1, 2)],
  [26, type("I32", 1, 4)],
  [27, type("I64", 1, 8)],
  [28, type("F64", 1, 8)],
  [29, type("IQ1_M", 256, 56)],
  [30, type("BF16", 1, 2)],
  [34, type("TQ1_0", 256, 54)],
  [35, type("TQ2_0", 256, 66)],
  [39, type("MXFP4", 32, 17)],
  [40, type("NVFP4", 64, 36)],
  [41, type("Q1_0", 128, 18)],
  [42, type("Q2_0", 64, 18)],
]);

/**
 * Names of quantizations of whole files by `general.file_type`: `enum llama_ftype` of llama.cpp's `llama.h`, in the spelling
 * of Ollama.
 */
export const fileTypeNames: ReadonlyMap<number, string> = new Map([
  [0, "F32"],
  [1, "F16"],
  [2, "Q4_0"],
  [3, "Q4_1"],
  [7, "Q8_0"],
  [8, "Q5_0"],
  [9, "Q5_1"],
  [10, "Q2_K"],
  [11, "Q3_K_S"],
  [12, "Q3_K_M"],
  [13, "Q3_K_L"],
  [14, "Q4_K_S"],
  [15, "Q4_K_M"],
  [16, "Q5_K_S"],
  [17, "Q5_K_M"],
  [18, "Q6_K"],
  [19, "IQ2_XXS"],
  [20, "IQ2_XS"],
  [21, "Q2_K_S"],
  [22, "IQ3_XS"],
  [23, "IQ3_XXS"],
  [24, "IQ1_S"],
  [25, "IQ4_NL"],
  [26, "IQ3_S"],
  [27, "IQ3_M"],
  [28, "IQ2_S"],
  [29, "IQ2_M"],
  [30, "IQ4_XS"],
  [31, "IQ1_M"],
  [32, "BF16"],
  [36, "TQ1_0"],
  [37, "TQ2_0"],
  [38, "MXFP4"],
  [39, "NVFP4"],
  [40, "Q1_0"],
  [41, "Q2_0"],
]);
