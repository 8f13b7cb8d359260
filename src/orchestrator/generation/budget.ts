import { sureTokens } from "../catalog/tokens.ts";
import { PromptTooLong } from "../api/errors.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { canonicalContext, defaultContextTokens } from "../memory/context-size.ts";
import type { CallerContext } from "../api/types.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import type { LocatedCandidate } from "./candidates.ts";
import { type OwnDefaults, settingOrOwn } from "./own-defaults.ts";
import { counted } from "../util/counted.ts";

/** Tokens reserved for an answer if the request has no limit; the answer may use more if the context has room. */
const defaultAnswerTokens = 1024;

export interface TokenBudget {
  /** Minimum context of the request: a model that is loaded with at least this much is used as it is. */
  readonly neededTokens: number;
  /** Context for a load, if the model must be loaded. */
  readonly contextTokens: number;
  readonly maxTokens: number;
  /** How the budget differs from the request. */
  readonly notes: readonly string[];
}

/** The budget of a request on one model, from the request, the caller's settings and the model's own defaults and limits. */
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
 * Throws `PromptTooLong` with both numbers when the prompt certainly leaves no room for an answer.
 */
export function tokenBudget(ask: {
  readonly model: string;
  readonly promptTokens: number;
  /** `promptTokens` were counted by the engine, not estimated. */
  readonly isExact: boolean;
  /** The request's limit; if undefined, `defaultMaxTokens`, lowered without a note when the window is small. */
  readonly maxTokens: number | undefined;
  readonly defaultMaxTokens: number;
  /** The request's context; if undefined, `defaultContextTokens`, lowered without a note when the window is small. */
  readonly contextTokens: number | undefined;
  readonly defaultContextTokens: number | undefined;
  readonly windowTokens: number | undefined;
  /** The model's output limit, if known. */
  readonly outputTokens: number | undefined;
}): TokenBudget {
  const { model, promptTokens, windowTokens, outputTokens } = ask;
  const surePromptTokens = ask.isExact ? promptTokens : sureTokens(promptTokens);
  if (windowTokens !== undefined && surePromptTokens >= windowTokens) {
    throw new PromptTooLong(
      `the prompt has ${ask.isExact ? "" : "about "}${promptTokens} tokens; the window of ${model} has ${windowTokens}`,
      { promptTokens, contextTokens: windowTokens, isExact: ask.isExact },
    );
  }
  const notes: string[] = [];
  let maxTokens = ask.maxTokens ?? ask.defaultMaxTokens;
  if (outputTokens !== undefined && maxTokens > outputTokens) {
    if (ask.maxTokens !== undefined)
      notes.push(
        `answer limited to ${counted(outputTokens, "token")} instead of ${maxTokens}: the most that ${model} generates`,
      );
    maxTokens = outputTokens;
  }
  // The engine stops at the end of the window by itself.
  const room = windowTokens === undefined ? Number.POSITIVE_INFINITY : windowTokens - surePromptTokens;
  if (maxTokens > room) {
    if (ask.maxTokens !== undefined) {
      notes.push(
        `answer limited to ${counted(room, "token")} instead of ${maxTokens}: the window of ${model} has ${String(windowTokens)}, the prompt about ${promptTokens}`,
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
