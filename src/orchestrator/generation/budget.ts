import { sureTokens } from "../catalog/tokens.ts";
import { PromptTooLong } from "../errors.ts";
import type { GenerateRequest } from "../facade.ts";
import { canonicalContext, defaultContextTokens } from "../memory/context-size.ts";
import type { CallerContext } from "../types.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import type { LocatedCandidate } from "./candidates.ts";
import { type OwnDefaults, settingOrOwn } from "./own-defaults.ts";

/** Room for an answer when nobody said how long it may become; more is used when the context has it. */
const defaultAnswerTokens = 1024;

export interface TokenBudget {
  /** What the request can't do without: a model that is loaded with this much is used as it is. */
  readonly neededTokens: number;
  /** What the model is loaded with when it must be loaded. */
  readonly contextTokens: number;
  readonly maxTokens: number;
  /** What was changed from what was asked, in words. */
  readonly notes: readonly string[];
}

/** The budget of a request on one model: its wishes, the caller's settings, what the model was made with and is known for. */
export function requestBudget(
  caller: CallerContext,
  request: GenerateRequest,
  { candidate, outputTokens }: LocatedCandidate,
  prompt: { readonly promptTokens: number; readonly isExact: boolean },
  own: OwnDefaults,
): TokenBudget {
  const overrides = overridesOf(caller.settings.models, candidate.model);
  return tokenBudget({
    ...prompt,
    model: candidate.model,
    maxTokens: request.maxTokens,
    defaultMaxTokens: overrides.options?.maxTokens ?? settingOrOwn("maxTokens", caller.settings, own),
    contextTokens: request.contextTokens,
    defaultContextTokens: overrides.contextTokens ?? caller.settings.contextTokens ?? own.contextTokens,
    windowTokens: candidate.contextTokens,
    outputTokens,
  });
}

/**
 * Fits prompt and answer into a model's window. Tokens throughout.
 * Throws `PromptTooLong` with both numbers when the prompt alone leaves no room for an answer, for sure.
 */
export function tokenBudget(ask: {
  readonly model: string;
  readonly promptTokens: number;
  /** The engine counted them; else they are estimated. */
  readonly isExact: boolean;
  /** The request's own limit; undefined: `defaultMaxTokens`, lowered without a word when the window is small. */
  readonly maxTokens: number | undefined;
  readonly defaultMaxTokens: number;
  /** The request's own wish; undefined: `defaultContextTokens`, lowered without a word when the window is small. */
  readonly contextTokens: number | undefined;
  readonly defaultContextTokens: number | undefined;
  readonly windowTokens: number | undefined;
  /** Most tokens the model answers with, when known. */
  readonly outputTokens: number | undefined;
}): TokenBudget {
  const { model, promptTokens, windowTokens, outputTokens } = ask;
  const surePromptTokens = ask.isExact ? promptTokens : sureTokens(promptTokens);
  if (windowTokens !== undefined && surePromptTokens >= windowTokens) {
    throw new PromptTooLong(
      `the prompt has ${ask.isExact ? "" : "about "}${promptTokens} tokens, ${model} reads at most ${windowTokens}`,
      { promptTokens, contextTokens: windowTokens, isExact: ask.isExact },
    );
  }
  const notes: string[] = [];
  let maxTokens = ask.maxTokens ?? ask.defaultMaxTokens;
  if (outputTokens !== undefined && maxTokens > outputTokens) {
    if (ask.maxTokens !== undefined)
      notes.push(`answer limited to ${outputTokens} tokens instead of ${maxTokens}: the most that ${model} generates`);
    maxTokens = outputTokens;
  }
  // The engine stops at the end of the window by itself; a limit is only worth a note where the numbers are sure.
  const room = windowTokens === undefined ? Number.POSITIVE_INFINITY : windowTokens - surePromptTokens;
  if (maxTokens > room) {
    if (ask.maxTokens !== undefined) {
      notes.push(
        `answer limited to ${room} tokens instead of ${maxTokens}: the window of ${model} has ${String(windowTokens)}, the prompt about ${promptTokens}`,
      );
    }
    maxTokens = room;
  }
  if (windowTokens !== undefined && ask.contextTokens !== undefined && ask.contextTokens > windowTokens) {
    notes.push(`context limited to ${windowTokens} tokens instead of ${ask.contextTokens}: the window of ${model}`);
  }
  const leastTokens = ask.contextTokens ?? ask.defaultContextTokens;
  const answerTokens = ask.maxTokens === undefined ? Math.min(maxTokens, defaultAnswerTokens) : maxTokens;
  const wantedTokens = Math.max(promptTokens + answerTokens, leastTokens ?? 0);
  return {
    neededTokens: windowTokens === undefined ? wantedTokens : Math.min(wantedTokens, windowTokens),
    contextTokens: canonicalContext({
      atLeastTokens: Math.max(wantedTokens, leastTokens ?? defaultContextTokens),
      windowTokens,
    }),
    maxTokens,
    notes,
  };
}
