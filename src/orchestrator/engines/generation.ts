import type { ChatMessage, SamplingOptions, ToolCall, ToolUse } from "../api/chat.ts";
import { isRecord } from "../util/values.ts";
import type { CallerContext, FinishReason, JsonSchema, ThinkLevel } from "../api/types.ts";

/** One chat request to an engine, with all defaults applied. */
export interface GenerationRequest extends ToolUse {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  /** `json` asks for any JSON value, a schema for one that matches it. */
  readonly format?: "json" | JsonSchema;
  readonly think?: ThinkLevel;
  /** Words of which the answer is one, as a single token: `Generation.likelihoods` says how likely each is. */
  readonly choices?: readonly string[];
  readonly maxTokens: number;
  /** A program set no limit: `maxTokens` is what there may be room for, and a server with a limit of its own is sent none. */
  readonly isUnlimited?: true;
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
  /** False: an engine that keeps what it read on disk neither looks for this prompt there nor writes it. */
  readonly cachePrompt?: boolean;
  /** Aborted: no call waits for the answer any more, so it gives way to others. For engines that pause answers. */
  readonly background?: AbortSignal;
  /** That the call belongs to; servers get it as headers. */
  readonly trace?: CallerContext["trace"];
}

export interface GenerationSink {
  text(delta: string): void;
  thinking(delta: string): void;
  /**
   * A piece of a call, in order: the first one of each has its name; `arguments` are the next characters of their JSON.
   * The calls of an answer are numbered from 0. For requests with tools.
   */
  toolCall?(delta: { readonly index: number; readonly name?: string; readonly arguments: string }): void;
  /** Reports what the engine is doing before the first token, and when it pauses and continues. */
  phase(phase: "loading" | "prefill" | "decode" | "paused"): void;
}

export interface Generation {
  /** The whole text, without thinking. */
  readonly text: string;
  readonly thinking?: string;
  /** As the model wrote them: the arguments may be no JSON, or not match the schema. Absent: none. */
  readonly toolCalls?: readonly ToolCall[];
  readonly finishReason: FinishReason;
  /** That of `sampling.stop` which ended it. Absent: none did, or the engine does not tell. */
  readonly stopText?: string;
  /** From 0 to 1, for each of the `choices`; what is left of 1 began another answer. Absent: the engine does not tell. */
  readonly likelihoods?: Readonly<Record<string, number>>;
  /** The model that answered as the server says; absent: the one that was asked. */
  readonly answeredBy?: string;
  readonly promptTokens: number;
  /** Prompt tokens that came from the prefix cache, when the engine reports it. */
  readonly cachedPromptTokens?: number;
  /** Those of the cached ones that were restored from disk. */
  readonly restoredPromptTokens?: number;
  /** Prompt tokens evaluated again because another conversation had overwritten them in the cache. */
  readonly recomputedTokens?: number;
  /** Number of conversations in the model's cache. */
  readonly sequences?: number;
  readonly completionTokens: number;
  /** Tokens are estimates: the server reported none, or some that can't be true. */
  readonly estimatedUsage?: "missing" | "impossible";
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

/** Tokens that are looked at: servers give 20 at most. */
export const firstTokens = 20;

/** Milliseconds that an engine may be silent while it reads: slow ones read 17 tokens of four characters a second. */
export function readingMs({ messages, tools }: Pick<GenerationRequest, "messages" | "tools">): number {
  let characters = tools === undefined ? 0 : JSON.stringify(tools).length;
  for (const { content, images, toolCalls } of messages) {
    characters += content.length + (images === undefined ? 0 : images.length * imageCharacters);
    if (toolCalls !== undefined) for (const call of toolCalls) characters += call.arguments.length;
  }
  return characters * 15;
}
/** An image is 500 tokens or more. */
const imageCharacters = 2_000;

/**
 * How likely an answer is each of the choices, by the likeliest first tokens (`{ token, logprob }`) as a server lists them:
 * case, spaces and marks don't count, and a token may be the beginning of a choice. Undefined if there are none.
 */
export function likelihoodsOf(choices: readonly string[], tokens: unknown): Generation["likelihoods"] {
  if (!Array.isArray(tokens) || tokens.length === 0) return undefined;
  const sums = new Map(choices.map((choice) => [choice, 0]));
  for (const each of tokens as readonly ({ readonly token?: unknown; readonly logprob?: unknown } | null)[]) {
    const { token, logprob } = each ?? {};
    if (typeof token !== "string" || typeof logprob !== "number" || !(logprob <= 0)) continue;
    const word = token.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, "");
    const [meant, ...others] = word === "" ? [] : choices.filter((choice) => choice.startsWith(word));
    if (meant !== undefined && others.length === 0) sums.set(meant, (sums.get(meant) ?? 0) + Math.exp(logprob));
  }
  return Object.fromEntries(sums);
}

/** No context is as large. */
const maxStatedTokens = 100_000_000;

/** A number of tokens in a server's error; undefined for what can't be one. */
export function statedTokens(value: unknown): number | undefined {
  const isCount = Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= maxStatedTokens;
  return isCount ? (value as number) : undefined;
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

/** Bytes of UTF-8 for a unit of UTF-16. A token has a byte at least. */
const maxCharacterBytes = 3;
/** A chat template adds the names of roles, and instructions of the model's maker. */
const spareTokens = 16_384;
/** Services count an image in tiles: tens of thousands for some. A recording has a few tokens a second. */
const maxMediaTokens = 100_000;
/** A control token or two at the end of an answer is not text. */
const spareAnswerTokens = 64;

/**
 * The counts of an answer. What can't be true is replaced by an estimate: what is no count, prompts with more tokens than
 * bytes, answers with more than were allowed. A wrong count would spend the budget, or be added to what is stored.
 * `characters` of text, thinking and calls arrived, in so many `pieces`.
 */
export function checkedUsage(
  request: Pick<GenerationRequest, "messages" | "maxTokens" | "contextTokens" | "format" | "tools">,
  { characters: received, pieces }: { readonly characters: number; readonly pieces: number },
  reported: {
    readonly promptTokens: unknown;
    readonly cachedPromptTokens?: unknown;
    readonly completionTokens: unknown;
  },
): Pick<Generation, "promptTokens" | "cachedPromptTokens" | "completionTokens" | "estimatedUsage"> {
  let characters = 0;
  // Some servers write the format into the prompt, and all of them the tools.
  for (const part of [request.format, request.tools])
    if (typeof part === "object") characters += JSON.stringify(part).length;
  let media = 0;
  for (const { content, images, audio, thinking = "", toolCalls = [] } of request.messages) {
    characters += content.length + thinking.length;
    for (const { name, arguments: json } of toolCalls) characters += name.length + json.length;
    media += (images?.length ?? 0) + (audio?.length ?? 0);
  }
  // The window may be one that was assumed.
  const most = Math.min(mostTokens(characters), Math.max(request.contextTokens, characters + spareTokens));
  const prompt = countUpTo(reported.promptTokens, most + media * maxMediaTokens);
  const completion = countUpTo(
    reported.completionTokens,
    Math.max(request.maxTokens, maxCharacterBytes * received) + spareAnswerTokens,
  );
  const promptTokens = prompt ?? Math.ceil(characters / 4);
  const cached = prompt === undefined ? undefined : countUpTo(reported.cachedPromptTokens, prompt);
  const isMissing = (count: unknown): boolean => count === undefined || count === null;
  const isWrong = (count: number | undefined, given: unknown): boolean => count === undefined && !isMissing(given);
  const estimated =
    isWrong(prompt, reported.promptTokens) || isWrong(completion, reported.completionTokens)
      ? "impossible"
      : prompt === undefined || completion === undefined
        ? "missing"
        : undefined;
  return {
    promptTokens,
    ...(cached === undefined ? {} : { cachedPromptTokens: cached }),
    completionTokens: completion ?? Math.max(pieces, Math.ceil(received / 4)),
    ...(estimated && { estimatedUsage: estimated }),
  };
}

/** The tokens of embedded texts as their server counted them; an estimate for a count that can't be true. */
export function embeddedTokens(texts: readonly string[], reported: unknown): number {
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  return countUpTo(reported, mostTokens(characters) + texts.length * spareAnswerTokens) ?? Math.ceil(characters / 4);
}

function mostTokens(characters: number): number {
  return maxCharacterBytes * characters + spareTokens;
}

/** A count that a server reports; undefined for what is none, or more than `most`. */
export function countUpTo(value: unknown, most: number): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
    ? (value as number)
    : undefined;
}

/** A JSON object from outside, unchecked: servers send less than they promise. */
export type Fields = Readonly<Record<string, unknown>>;

export const fieldsOf = (value: unknown): Fields => (isRecord(value) ? value : {});
export const textIn = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;
export const countIn = (value: unknown): number | undefined => countUpTo(value, Number.MAX_SAFE_INTEGER);

/** A longer time is not believed. */
const maxMilliseconds = 24 * 3_600_000;

/** A duration that a server reports; undefined for what is none. */
export function millisecondsIn(value: unknown): number | undefined {
  return typeof value === "number" && value >= 0 && value <= maxMilliseconds ? value : undefined;
}
