import type { Capability, ModelFacts } from "../types.ts";
import type { GgufHeader } from "./inspect.ts";
import { fileTypeNames } from "./tensor-types.ts";

/** The part of `ModelFacts` that a file itself states. */
export type HeaderFacts = Pick<
  ModelFacts,
  | "architecture"
  | "parameterSize"
  | "quantization"
  | "contextTokens"
  | "layerCount"
  | "embeddingLength"
  | "vocabularySize"
  | "capabilities"
  | "template"
  | "metadata"
>;

/** Architectures that turn text into vectors and nothing else. */
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

/** Parts of a vision or audio encoder inside a file: names of llama.cpp's `clip.cpp`, of Ollama's and of the makers. */
const visionTensor = /^(v|mm|s|vision_tower|vision_model|sam_model|model\.vision_tower)\./;
const audioTensor = /^(a|audio_tower|model\.audio_tower)\./;

/** Whether a tensor belongs to a vision or audio encoder rather than to the language model. */
export function isEncoderTensor(name: string): boolean {
  return visionTensor.test(name) || audioTensor.test(name);
}

/** What is known of a model from its header alone; what the header leaves open is absent. */
export function factsFromHeader(header: GgufHeader): HeaderFacts {
  const { architecture, metadata } = header;
  const template = text(metadata["tokenizer.chat_template"]);
  const vocabularySize =
    header.vocabularySize ??
    number(metadata[`${architecture}.vocab_size`]) ??
    header.tensors.find((tensor) => tensor.name === "token_embd.weight")?.shape[1];
  return {
    architecture,
    metadata,
    capabilities: capabilitiesOf(header, template),
    ...present("parameterSize", printedCount(parameterCount(header))),
    ...present("quantization", quantizationOf(header)),
    ...present("contextTokens", number(metadata[`${architecture}.context_length`])),
    ...present("layerCount", number(metadata[`${architecture}.block_count`])),
    ...present("embeddingLength", number(metadata[`${architecture}.embedding_length`])),
    ...present("vocabularySize", vocabularySize),
    ...present("template", template),
  };
}

/** Weights in all tensors. */
function parameterCount({ tensors }: GgufHeader): number {
  return tensors.reduce((sum, { shape }) => sum + shape.reduce((product, each) => product * each, 1), 0);
}

/** As Ollama prints it: `134.52M`, `7.6B`, `70B`; undefined for a file without weights. */
export function printedCount(count: number): string | undefined {
  const billions = count / 1e9;
  const millions = count / 1e6;
  if (count <= 0) return undefined;
  if (billions >= 1) return `${Number.isInteger(billions) ? billions : billions.toFixed(1)}B`;
  if (millions >= 1) return `${Number.isInteger(millions) ? millions : millions.toFixed(2)}M`;
  return count >= 1e3 ? `${(count / 1e3).toFixed(0)}K` : String(count);
}

/** The mix that the file states (`Q4_K_M`), else the type that most of its weights have. */
function quantizationOf({ metadata, tensors }: GgufHeader): string | undefined {
  const stated = fileTypeNames.get(number(metadata["general.file_type"]) ?? -1);
  if (stated !== undefined) return stated;
  const weights = new Map<string, number>();
  for (const { type, shape } of tensors)
    weights.set(type, (weights.get(type) ?? 0) + shape.reduce((product, each) => product * each, 1));
  return [...weights].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}

/** Templates are judged as Ollama judges them (`server/images.go`), and by the switches that newer ones have. */
function capabilitiesOf({ architecture, metadata, tensors }: GgufHeader, template = ""): readonly Capability[] {
  const capabilities: Capability[] = [];
  const hasVision = tensors.some((tensor) => visionTensor.test(tensor.name));
  const pooling = number(metadata[`${architecture}.pooling_type`]) ?? 0;
  // A projector (clip) sees, but answers nothing by itself.
  if (encoders.has(architecture) || pooling !== 0) capabilities.push("embedding");
  else if (architecture !== "clip") capabilities.push("completion");
  if (/tools|tool_call/.test(template)) capabilities.push("tools");
  if (isThinkingTemplate(template)) capabilities.push("thinking");
  if (hasVision || metadata[`${architecture}.vision.block_count`] !== undefined) capabilities.push("vision");
  if (tensors.some((tensor) => audioTensor.test(tensor.name))) capabilities.push("audio");
  return capabilities;
}

function isThinkingTemplate(template: string): boolean {
  if (template.includes("<think>") && template.includes("</think>")) return true;
  if (/enable_thinking|reasoning_effort/.test(template)) return true;
  // Templates that cut earlier reasoning out of a conversation belong to models that reason.
  return /content\.split\(['"]<\/think>['"]\)/.test(template) && !template.includes("reasoning_content");
}

function present<Key extends string, Value>(key: Key, value: Value | undefined): { readonly [K in Key]?: Value } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [K in Key]?: Value };
}

function number(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
