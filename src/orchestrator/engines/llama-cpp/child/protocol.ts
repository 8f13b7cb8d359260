import type { ChatMessage, ToolCall, ToolUse } from "../../../api/chat.ts";
import type { MemoryEstimate } from "../../../api/facade-status.ts";
import type { Generation, GenerationRequest, GenerationSink } from "../../generation.ts";

/**
 * Messages between the daemon and one engine process, as JSON over the fork's channel. Every request has an `id` that its
 * replies repeat. Each request is answered with any number of events and one `done` or `failed`.
 */
export type ChildRequest =
  | LoadRequest
  /** Loads a vocabulary without weights, for a process that only counts. `file`: absolute path. */
  | { readonly type: "vocabulary"; readonly file: string }
  | EstimateRequest
  | GenerateRequest
  | { readonly type: "embed"; readonly inputs: readonly string[] }
  | { readonly type: "count"; readonly text: string }
  | PromptCountRequest;

/**
 * `cancel` ends the request of that id with `failed: cancelled`. `pause` stops a generation at the next token, or part of
 * its prompt, which it reports as the phase `paused`; `resume` continues it. `exit` ends the process: what it has read is
 * written before, which it says with `saving`.
 */
export type ChildControl =
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "pause"; readonly id: number }
  | { readonly type: "resume"; readonly id: number }
  | { readonly type: "exit" };

export interface LoadRequest {
  readonly type: "load";
  /** Absolute path. */
  readonly file: string;
  readonly adapterFiles: readonly string[];
  readonly useMmap: boolean;
  readonly contextTokens: number;
  readonly batchTokens: number;
  readonly isEmbedding: boolean;
  /** Guesses that are computed with a token of an answer at most, and the bytes of what comes out of a batch with so many. */
  readonly mostGuesses: number;
  readonly guessBytes: number;
  /** Layers on graphics cards. */
  readonly gpuLayers: number;
  /** Maximum; fewer are used where that is faster. */
  readonly threads: number;
  /** Absolute path, for what this model has read; it may not exist. */
  readonly promptFolder: string;
  /** Absolute path, for what its threads were measured to do; it may not exist. */
  readonly speedsFile: string;
}

export interface EstimateRequest extends Pick<
  LoadRequest,
  "file" | "useMmap" | "contextTokens" | "batchTokens" | "isEmbedding"
> {
  readonly type: "estimate";
  readonly sequences: number;
  /** Also loads the vocabulary, to measure the memory of its tables. */
  readonly withVocabulary: boolean;
  /** ggml's name; default f16, which the embedded engine uses. */
  readonly cacheType?: CacheTypeName;
  /** Absent: automatic. */
  readonly hasFlashAttention?: boolean;
  /** Also computes `byLayers`. */
  readonly isForCards?: boolean;
}

export type CacheTypeName = keyof typeof cacheTypeNumbers;

/** Types of a key/value cache and their numbers in `enum ggml_type`. */
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
  /** Cache, recurrent state and compute buffers that llama.cpp's allocator reserves. */
  readonly contextBytes: number;
  /** The same for the smallest context that holds a whole batch, whose cache is small. */
  readonly smallestContextBytes: number;
  readonly smallestContextTokens: number;
  /** Growth of this process by the vocabulary; absent if not requested or not measurable. */
  readonly vocabularyBytes?: number;
  readonly byLayers?: MemoryEstimate["byLayers"];
}

export type ChildMessage = Omit<ChatMessage, "images" | "audio">;

/** A generation with all defaults applied, including those of the manifest. Its tools may be called. */
export interface GenerateRequest extends Pick<
  GenerationRequest,
  "tools" | "singleCall" | "format" | "think" | "choices" | "maxTokens"
> {
  readonly type: "generate";
  readonly messages: readonly ChildMessage[];
  readonly toolChoice?: Exclude<ToolUse["toolChoice"], "none">;
  readonly sampling: ChildSampling;
  /** For so many conversations at least there is a sequence from now on: there is memory for them. */
  readonly sequences: number;
  /** It was in the background from its start: others may come at any time, and wait for a piece of its prompt at most. */
  readonly isBehind?: true;
  /** Limit of all prompts on disk; absent: a share of what is free. 0: this one is neither looked for nor written. */
  readonly promptCacheBytes?: number;
}

export interface ChildSampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly seed?: number;
  readonly stop: readonly string[];
  /** 1 disables it. */
  readonly repeatPenalty: number;
  readonly repeatLastTokens: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
  /** How many guesses are computed with a token at most. Absent: as many as pay, none if the text should be the same each time. */
  readonly mostGuesses?: number;
}

export interface GenerateDone
  extends
    Pick<
      Generation,
      "text" | "stopText" | "likelihoods" | "promptTokens" | "completionTokens" | "prefillMs" | "decodeMs"
    >,
    Required<
      Pick<Generation, "thinking" | "cachedPromptTokens" | "restoredPromptTokens" | "recomputedTokens" | "sequences">
    > {
  readonly toolCalls: readonly Omit<ToolCall, "id">[];
  readonly finishReason: "stop" | "length";
}

/** Counts the tokens of the prompt that a `generate` would evaluate. */
export interface PromptCountRequest extends Pick<GenerateRequest, "messages" | "tools" | "think"> {
  readonly type: "count-prompt";
  readonly hasFormat: boolean;
}

/** A piece of a call. */
export type CallDelta = Parameters<NonNullable<GenerationSink["toolCall"]>>[0];

/** The result of each request. */
export interface DoneOf {
  readonly load: { readonly contextTokens: number };
  readonly estimate: EstimateDone;
  readonly generate: GenerateDone;
  readonly embed: { readonly vectors: readonly (readonly number[])[]; readonly promptTokens: number };
  readonly count: { readonly tokens: number };
  readonly vocabulary: undefined;
  readonly "count-prompt": { readonly tokens: number };
}

export type ChildEvent =
  | { readonly type: "load-progress"; readonly fraction: number }
  | { readonly type: "phase"; readonly phase: "prefill" | "decode" | "paused" }
  | { readonly type: "delta"; readonly text?: string; readonly thinking?: string; readonly call?: CallDelta };

export type FailureCode =
  | "cancelled"
  | "load_failed"
  | "no_sequence"
  | "prompt_too_long"
  | "bad_format"
  | "stalled"
  | "failed";

/** How many answers a process can write at the same time. */
export interface Capacity {
  /** Conversations in its cache. */
  readonly sequences: number;
  /** Answers that are written together without loss, by what was measured. */
  readonly together: number;
}

export type ChildReply =
  | { readonly type: "ready" }
  | { readonly type: "saving" }
  | ({ readonly type: "capacity" } & Capacity)
  | { readonly type: "broken"; readonly message: string }
  | (ChildEvent & { readonly id: number })
  | { readonly type: "done"; readonly id: number; readonly value: unknown }
  | {
      readonly type: "failed";
      readonly id: number;
      readonly code: FailureCode;
      readonly message: string;
      readonly promptTokens?: number;
      readonly contextTokens?: number;
    };
