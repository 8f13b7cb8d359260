import { type Fields, countIn, fieldsOf, textIn } from "../generation.ts";
import type { Capability, InstalledModel, Trust } from "../../api/types.ts";
import { printedCount } from "../gguf/header.ts";

import { defined } from "../../util/values.ts";

/** A model of the server's list, in the terms of all dialects. */
export interface ListedModel {
  readonly model: InstalledModel;
  /** As the server names it, which the settings may write in another way. */
  readonly id: string;
  readonly embeddingLength?: number;
  readonly vocabularySize?: number;
  /** The names that llama-server may have in a reply: it answers with its own model whatever is asked for. */
  readonly ownNames?: readonly string[];
  /** In the router mode of llama-server: `loaded`, `loading`, `unloaded`, `sleeping`. */
  readonly status?: string;
  /** In router mode: its last process ended with an error. */
  readonly hasFailed?: true;
  /** Path of its file on the server, where the server tells. */
  readonly file?: string;
}

const maxNameCharacters = 500;

/**
 * A row of a list of models. `meta` is what llama-server's router mode said of the model when it was loaded. Nothing for
 * what neither chats nor embeds, such as a speech model of a cloud.
 */
export function listedModel(fields: Fields, meta: Fields, trust: Trust): ListedModel | undefined {
  const id = textIn(fields["id"]) ?? "";
  const capabilities = capabilitiesOf(id, fields);
  if (id === "" || id.length > maxNameCharacters || capabilities?.length === 0) return undefined;
  const status = fieldsOf(fields["status"]);
  const aliases = Array.isArray(fields["aliases"]) ? fields["aliases"].map(String) : [];
  const isLlamaServer = fields["owned_by"] === "llamacpp";
  const model: InstalledModel = defined({
    name: id,
    sizeBytes: countIn(meta["size"]) ?? 0,
    family: textIn(fields["arch"]),
    parameterSize: printedCount(countIn(meta["n_params"]) ?? 0) ?? sizeInName(id),
    quantization: textIn(meta["ftype"]) ?? textIn(fields["quantization"]),
    contextTokens: contextOf({ ...fields, meta }),
    capabilities,
    trust,
  });
  return defined({
    model,
    id,
    embeddingLength: countIn(meta["n_embd"]),
    vocabularySize: countIn(meta["n_vocab"]),
    ownNames: isLlamaServer && fields["status"] === undefined ? [id, ...aliases] : undefined,
    status: textIn(status["value"]),
    hasFailed: status["failed"] === true || undefined,
    file: fileOf(status["args"]),
  });
}

/** A model that only the settings name. */
export function namedModel(name: string, trust: Trust): ListedModel {
  const parameterSize = sizeInName(name);
  const capabilities = isEmbeddingName(name) ? (["embedding"] as const) : undefined;
  return { id: name, model: defined({ name, sizeBytes: 0, trust, parameterSize, capabilities }) };
}

export function contextOf(fields: Fields): number | undefined {
  const { n_ctx: ofSlot } = fieldsOf(fields["meta"]);
  const names = ["max_model_len", "context_length", "loaded_context_length", "max_context_length", "context_window"];
  return [ofSlot, ...names.map((name) => fields[name])].map(countIn).find((count) => count !== undefined && count > 0);
}

/** Names of models of clouds that are neither for chats nor for embeddings; their lists don't say it. */
const otherKinds = /whisper|transcribe|\btts\b|dall-e|gpt-image|\bsora\b|moderation|rerank|realtime|babbage|davinci/i;

/** `7B` of `Qwen/Qwen2.5-7B-Instruct`. */
function sizeInName(name: string): string | undefined {
  return /(?:^|[^\w.])(\d+(?:\.\d+)?b)(?![a-z0-9])/i.exec(name)?.[1]?.toUpperCase();
}

const isEmbeddingName = (name: string): boolean => /embed/i.test(name);

/** Undefined where the list says nothing about it; empty for a model of another kind. */
function capabilitiesOf(id: string, fields: Fields): readonly Capability[] | undefined {
  const type = textIn(fields["type"]);
  if (type === "embeddings" || isEmbeddingName(id)) return ["embedding"];
  const { input_modalities: input, output_modalities: output } = fieldsOf(fields["architecture"]);
  if (Array.isArray(output) && !output.includes("text")) return [];
  const stated = Array.isArray(input) ? input.map(String) : undefined;
  const hasImages = stated?.includes("image") ?? fields["supports_image_in"] ?? (type && type === "vlm");
  if (hasImages === undefined && type === undefined) return otherKinds.test(id) ? [] : undefined;
  const capabilities: Capability[] = ["completion"];
  if (hasImages === true) capabilities.push("vision");
  if (stated?.includes("audio") === true) capabilities.push("audio");
  if (fields["supports_reasoning"] === true) capabilities.push("thinking");
  return capabilities;
}

/** From the arguments of a process of llama-server's router mode. */
function fileOf(args: unknown): string | undefined {
  if (!Array.isArray(args)) return undefined;
  const at = args.findIndex((argument) => argument === "--model" || argument === "-m");
  return at === -1 ? undefined : textIn(args[at + 1]);
}
