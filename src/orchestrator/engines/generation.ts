import type { AudioInput, FinishReason, JsonSchema, ThinkLevel } from "../api/types.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
  /** Base64 without a data: prefix. */
  readonly images?: readonly string[];
  /** Only for engines with `audioFormats`. */
  readonly audio?: readonly AudioInput[];
}

export interface SamplingOptions {
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
}

/** One chat request to an engine, with all defaults applied. */
export interface GenerationRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  /** `json` asks for any JSON value, a schema for one that matches it. */
  readonly format?: "json" | JsonSchema;
  readonly think?: ThinkLevel;
  readonly maxTokens: number;
  readonly sampling: SamplingOptions;
  /** Canonical context window; the engine loads the model with it when it must load. */
  readonly contextTokens: number;
  /** As for a load; 0 unloads the model after the answer. Absent: unchanged. */
  readonly keepAliveSeconds?: number;
  /**
   * Number of conversations whose caches the engine may keep at the same time; absent: unchanged. Engines that manage
   * their own cache ignore it.
   */
  readonly sequences?: number;
  /** Aborted: no call waits for the answer any more, so it gives way to others. For engines that pause answers. */
  readonly background?: AbortSignal;
}

export interface GenerationSink {
  text(delta: string): void;
  thinking(delta: string): void;
  /** Reports what the engine is doing before the first token, and when it pauses and continues. */
  phase(phase: "loading" | "prefill" | "decode" | "paused"): void;
}

export interface Generation {
  /** The whole text, without thinking. */
  readonly text: string;
  readonly thinking?: string;
  readonly finishReason: FinishReason;
  readonly promptTokens: number;
  /** Prompt tokens that came from the prefix cache, when the engine reports it. */
  readonly cachedPromptTokens?: number;
  /** Prompt tokens evaluated again because another conversation had overwritten them in the cache. */
  readonly recomputedTokens?: number;
  /** Number of conversations in the model's cache. */
  readonly sequences?: number;
  readonly completionTokens: number;
  /** The server reported no usage: the tokens are estimates. */
  readonly isUsageEstimated?: true;
  /** Time waited inside the engine for cores in use by another generation; absent when the engine doesn't report it. */
  readonly queueMs?: number;
  /** Time spent loading the model in this call; 0 when it was loaded already. */
  readonly loadMs: number;
  /** From the call to the first token of text or thinking. */
  readonly firstTokenMs: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly totalMs: number;
}

/** Upper bound of the mean over an answer: real text has three to six, a page of blanks about twenty. */
const maxTokenCharacters = 32;
/** Added to the bound, for short answers with long tokens. */
const spareCharacters = 16_000;
/** Upper bound for any `maxTokens`: about a million tokens of real text, of which several copies are in memory. */
const maxAnswerCharacters = 4_000_000;

/** Returns the maximum length of an answer in characters, thinking included. */
export function answerCharacters(maxTokens: number): number {
  return Math.min(maxAnswerCharacters, spareCharacters + maxTokens * maxTokenCharacters);
}
