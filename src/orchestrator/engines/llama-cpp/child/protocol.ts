import type { JsonSchema, ThinkLevel } from "../../../types.ts";
import type { ChatMessage } from "../../generation.ts";

/**
 * Messages between the server and one engine child, as JSON over the fork's channel. Every request carries an `id` that
 * its replies repeat; a child answers each request with any number of events and one `done` or `failed`.
 */
export type ChildRequest =
  | LoadRequest
  | VocabularyRequest
  | EstimateRequest
  | GenerateRequest
  | EmbedRequest
  | CountRequest
  | PromptCountRequest;

/** `cancel` ends the request of that id with `failed: cancelled`; `exit` ends the process. */
export type ChildControl = { readonly type: "cancel"; readonly id: number } | { readonly type: "exit" };

export interface LoadRequest {
  readonly type: "load";
  /** Absolute path. */
  readonly file: string;
  readonly adapterFiles: readonly string[];
  readonly useMmap: boolean;
  readonly contextTokens: number;
  readonly batchTokens: number;
  readonly isEmbedding: boolean;
  readonly threads: { readonly prefill: number; readonly decode: number };
}

export interface EstimateRequest {
  readonly type: "estimate";
  readonly file: string;
  readonly useMmap: boolean;
  readonly contextTokens: number;
  readonly sequences: number;
  readonly batchTokens: number;
  readonly isEmbedding: boolean;
  /** Also load the vocabulary, so that this process's growth shows what its tables take. */
  readonly withVocabulary: boolean;
  /** Another than f16, which the embedded engine itself uses: names of ggml. */
  readonly cacheType?: CacheTypeName;
  /** Absent: as the engine itself decides. */
  readonly hasFlashAttention?: boolean;
}

export type CacheTypeName = keyof typeof cacheTypeNumbers;

/** Types that a key/value cache may have, by their number in `enum ggml_type`. */
export const cacheTypeNumbers = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  iq4_nl: 20,
  bf16: 30,
} as const;

export interface EstimateDone {
  readonly weightsBytes: number;
  /** Cache, recurrent state and compute buffers as llama.cpp's allocator reserves them. */
  readonly contextBytes: number;
  /** The same with a cache hardly worth mentioning: of the smallest context that holds a whole batch. */
  readonly smallestContextBytes: number;
  readonly smallestContextTokens: number;
  /** What this process grew by with the vocabulary alone; absent where that isn't asked for or can't be measured. */
  readonly vocabularyBytes?: number;
}

/** Everything decided: defaults of the manifest are already in it. */
export interface GenerateRequest {
  readonly type: "generate";
  readonly messages: readonly Pick<ChatMessage, "role" | "content">[];
  readonly format?: "json" | JsonSchema;
  readonly think?: ThinkLevel;
  readonly maxTokens: number;
  readonly sampling: ChildSampling;
  /** Sequences that the model may have; one is added where this prompt would overwrite another conversation. */
  readonly sequences: number;
}

export interface ChildSampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly seed?: number;
  readonly stop: readonly string[];
  /** 1 is none. */
  readonly repeatPenalty: number;
  readonly repeatLastTokens: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
}

export interface GenerateDone {
  readonly text: string;
  readonly thinking: string;
  readonly finishReason: "stop" | "length";
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  /** Prompt tokens that were in the cache until another conversation overwrote them. */
  readonly recomputedTokens: number;
  /** Conversations that the cache holds side by side now. */
  readonly sequences: number;
  readonly completionTokens: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
}

export interface EmbedRequest {
  readonly type: "embed";
  readonly inputs: readonly string[];
}

export interface EmbedDone {
  readonly vectors: readonly (readonly number[])[];
  readonly promptTokens: number;
}

export interface CountRequest {
  readonly type: "count";
  readonly text: string;
}

/** Loads no weights: a process that only counts. */
export interface VocabularyRequest {
  readonly type: "vocabulary";
  /** Absolute path. */
  readonly file: string;
}

/** How many tokens a `generate` would read. */
export interface PromptCountRequest extends Pick<GenerateRequest, "messages" | "think"> {
  readonly type: "count-prompt";
  readonly hasFormat: boolean;
}

export interface CountDone {
  readonly tokens: number;
}

/** What each request is answered with. */
export interface DoneOf {
  readonly load: { readonly contextTokens: number };
  readonly estimate: EstimateDone;
  readonly generate: GenerateDone;
  readonly embed: EmbedDone;
  readonly count: CountDone;
  readonly vocabulary: undefined;
  readonly "count-prompt": CountDone;
}

export type ChildEvent =
  | { readonly type: "load-progress"; readonly fraction: number }
  | { readonly type: "phase"; readonly phase: "prefill" | "decode" }
  | { readonly type: "delta"; readonly text?: string; readonly thinking?: string };

export type FailureCode = "cancelled" | "load_failed" | "prompt_too_long" | "bad_format" | "failed";

export interface ChildFailureReply {
  readonly type: "failed";
  readonly code: FailureCode;
  readonly message: string;
  readonly promptTokens?: number;
  readonly contextTokens?: number;
}

export type ChildReply =
  | { readonly type: "ready" }
  | { readonly type: "broken"; readonly message: string }
  | (ChildEvent & { readonly id: number })
  | { readonly type: "done"; readonly id: number; readonly value: unknown }
  | (ChildFailureReply & { readonly id: number });
