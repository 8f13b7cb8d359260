/** Conversations and texts as programs send them, and as engines read them. */
import type { Cost } from "./cost.ts";
import type { Sampling } from "./sampling.ts";
import type { AudioInput, JsonSchema } from "./types.ts";

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
