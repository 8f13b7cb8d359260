import * as z from "zod";
import type { Cost } from "./cost.ts";
import type { AudioInput, JsonSchema } from "./types.ts";

/**
 * The options of sampling, of which settings, profiles, templates, tools and the requests to servers are made. `top_p` is
 * what tools, Ollama and servers with OpenAI's API call `topP`.
 */
const options = {
  temperature: { argument: "temperature", number: z.number().min(0).max(2), about: "Sampling temperature." },
  topP: { argument: "top_p", number: z.number().gt(0).max(1), about: "Nucleus sampling." },
} as const;

type SamplingName = keyof typeof options;

/** As tools call them. */
type SamplingArgument = (typeof options)[SamplingName]["argument"];

/** Options of sampling; absent: what the layer below says. */
export type Sampling = { readonly [Name in SamplingName]?: number };

/** What profiles, settings of models and templates say about answers. */
export interface AnswerOptions extends Sampling {
  readonly maxTokens?: number;
}

export const samplingNames = Object.keys(options) as readonly SamplingName[];

const samplingArgumentNames = samplingNames.map((name) => [name, options[name].argument] as const);

/** For a schema with the names of the settings. An assistant may change these: they only vary answers. */
export const samplingShape = Object.fromEntries(
  samplingNames.map((name) => [
    name,
    options[name].number.optional().meta({ free: "always", description: options[name].about }),
  ]),
) as Readonly<Record<SamplingName, z.ZodOptional<z.ZodNumber>>>;

/** For the input of a tool. Without `isBounded` its values are checked later. */
export function samplingInput(isBounded: boolean): Readonly<Record<SamplingArgument, z.ZodOptional<z.ZodNumber>>> {
  return Object.fromEntries(
    samplingArgumentNames.map(([name, argument]) => [
      argument,
      (isBounded ? options[name].number : z.number()).optional(),
    ]),
  ) as never;
}

/** The options among others. */
export function samplingOf(given: Sampling): Sampling {
  const found: { -readonly [Name in SamplingName]?: number } = {};
  for (const name of samplingNames) if (given[name] !== undefined) found[name] = given[name];
  return found;
}

/** `{ topP: 0.9 }` → `{ top_p: 0.9 }` */
export function samplingArguments(given: Sampling): { readonly [Name in SamplingArgument]?: number } {
  const found: Record<string, number> = {};
  for (const [name, argument] of samplingArgumentNames) if (given[name] !== undefined) found[argument] = given[name];
  return found;
}

/** `{ top_p: 0.9 }` → `{ topP: 0.9 }` */
export function samplingFrom(given: { readonly [Name in SamplingArgument]?: number | undefined }): Sampling {
  const found: { -readonly [Name in SamplingName]?: number } = {};
  for (const [name, argument] of samplingArgumentNames)
    if (given[argument] !== undefined) found[name] = given[argument];
  return found;
}

/** Conversations and texts as programs send them, and as engines read them. */

/** A tool that the program of a request runs. */
export interface ToolDefinition {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of an object: the arguments. */
  readonly parameters: JsonSchema;
}

/** `required`: one call at least; with a name: of that tool. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string };

/** A model's call of a tool. */
export interface ToolCall {
  /** Unique in a conversation. */
  readonly id: string;
  readonly name: string;
  /** JSON text of an object. */
  readonly arguments: string;
}

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
  /** Base64 without a data: prefix. */
  readonly images?: readonly string[];
  /** Only for engines with `audioFormats`. */
  readonly audio?: readonly AudioInput[];
  /** What an assistant thought before its answer. */
  readonly thinking?: string;
  /** Calls of an assistant. */
  readonly toolCalls?: readonly ToolCall[];
  /** Which call a message of role `tool` answers, and the name of its tool if the program says it. */
  readonly toolCallId?: string;
  readonly toolName?: string;
}

export interface SamplingOptions extends Sampling {
  readonly topK?: number;
  readonly frequencyPenalty?: number;
  readonly presencePenalty?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
}

/** The tools of a request, and whether they are to be called. */
export interface ToolUse {
  readonly tools?: readonly ToolDefinition[];
  /** Absent: `auto`. */
  readonly toolChoice?: ToolChoice;
  /** One call at most. */
  readonly singleCall?: boolean;
}

/**
 * A conversation as a program sends it. Nothing is added to it: no memories, no project, no system prompt of the settings
 * or of a profile, none of their options.
 */
export interface Chat extends ToolUse {
  readonly messages: readonly ChatMessage[];
  readonly sampling: SamplingOptions;
  /** The day and the time may stand at the end of the system prompt, for a local model's cache. */
  readonly movesDates?: boolean;
  /** False: the program gets the answer whole, so that another model may begin anew after a part of one. */
  readonly isStreamed?: boolean;
}

export interface EmbedRequest {
  /** Absent: an installed model that embeds. */
  readonly model?: string;
  readonly texts: readonly string[];
}

export interface EmbedResult {
  readonly model: string;
  readonly engine: string;
  /** One for each text, in order. */
  readonly vectors: readonly (readonly number[])[];
  readonly promptTokens: number;
  readonly queueMs: number;
  readonly loadMs: number;
  readonly totalMs: number;
  /** Absent for an engine without prices. */
  readonly cost?: Cost;
}
