import type { FinishReason, JsonSchema, ThinkLevel } from "../types.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
  /** Base64 without a data: prefix. */
  readonly images?: readonly string[];
}

export interface SamplingOptions {
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
}

/** One chat request as an engine sees it: everything has been decided. */
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
  /** As for a load; 0 unloads when the answer is done. Absent: unchanged. */
  readonly keepAliveSeconds?: number;
  /**
   * Conversations whose cache the engine may keep side by side from now on; absent: as many as it keeps. Engines that
   * decide for themselves ignore it.
   */
  readonly sequences?: number;
}

export interface GenerationSink {
  text(delta: string): void;
  thinking(delta: string): void;
  /** Called before the first token: what the engine is doing. */
  phase(phase: "loading" | "prefill" | "decode"): void;
}

export interface Generation {
  /** The whole text, without thinking. */
  readonly text: string;
  readonly thinking?: string;
  readonly finishReason: FinishReason;
  readonly promptTokens: number;
  /** Prompt tokens that came from the prefix cache, when the engine says. */
  readonly cachedPromptTokens?: number;
  /** Those that were in the cache until another conversation overwrote them, and were computed again. */
  readonly recomputedTokens?: number;
  /** Conversations that the cache of the model holds side by side. */
  readonly sequences?: number;
  readonly completionTokens: number;
  /** Waited inside the engine for cores that another generation used; absent when the engine doesn't say. */
  readonly queueMs?: number;
  /** Model load inside this call; 0 when it was loaded. */
  readonly loadMs: number;
  /** From the call to the first token of text or thinking. */
  readonly firstTokenMs: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly totalMs: number;
}

/** The mean over a whole answer: real ones have three to six, a page of blanks some twenty. */
const maxTokenCharacters = 32;
/** Beside the tokens, for short answers of long tokens. */
const spareCharacters = 16_000;
/** Whatever `maxTokens` says: some million tokens of real text, several copies of which are in memory as they arrive. */
const maxAnswerCharacters = 4_000_000;

/** The most characters of an answer, thinking included. */
export function answerCharacters(maxTokens: number): number {
  return Math.min(maxAnswerCharacters, spareCharacters + maxTokens * maxTokenCharacters);
}
