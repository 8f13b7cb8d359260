import { overridesOf } from "../catalog/model-overrides.ts";
import { needsCount } from "../catalog/tokens.ts";
import type { ChatMessage } from "../engines/generation.ts";
import { PromptTooLong } from "../api/errors.ts";
import type { NextStep } from "../api/next-step.ts";
import type { GenerateRequest } from "../api/facade.ts";
import { chooseModel } from "../routing/choose.ts";
import { leaveOut } from "../routing/explain.ts";
import { leastAnswerTokens } from "../routing/filter.ts";
import { sameModel } from "../util/model-name.ts";
import type { CallerContext } from "../api/types.ts";
import { listCandidates, type LocatedCandidate } from "./candidates.ts";
import type { OwnDefaults } from "./own-defaults.ts";
import { buildMessages, countPromptTokens } from "./prompt.ts";
import { choiceOf, type RouteSource } from "./route.ts";

/** The messages for a model, with the system prompt of the request, else of the settings, else the model's own. */
export function messagesFor(
  caller: CallerContext,
  request: GenerateRequest,
  entry: LocatedCandidate,
  own: OwnDefaults,
  more: { readonly memory?: string | undefined; readonly history?: readonly ChatMessage[] } = {},
): readonly ChatMessage[] {
  // Explicitly, because engines drop the model's own system prompt when there is another, such as remembered entries.
  const system = request.system ?? overridesOf(caller.settings.models, entry.located.model.name).system ?? own.system;
  return buildMessages(request, { system, ...more });
}

/** In tokens. */
export interface PromptSize {
  readonly promptTokens: number;
  /** Counted by the model's tokenizer, not estimated. */
  readonly isExact: boolean;
}

/**
 * The size of a prompt for a model. Counting takes up to a second, so it is done only if the estimate leaves open whether
 * the prompt fits and a tokenizer is available.
 */
export async function sizePrompt(
  { located, candidate }: LocatedCandidate,
  messages: readonly ChatMessage[],
  { think, format }: Pick<GenerateRequest, "think" | "format">,
  signal: AbortSignal,
): Promise<PromptSize> {
  const { engine, model } = located;
  const estimated = { promptTokens: countPromptTokens(messages), isExact: false };
  if (!needsCount(estimated.promptTokens, candidate.contextTokens)) return estimated;
  const counted = await engine.tokenizer?.countPrompt(
    {
      model: model.name,
      messages,
      ...(think === undefined ? {} : { think }),
      ...(format === undefined ? {} : { format }),
    },
    signal,
  );
  return counted === undefined ? estimated : { promptTokens: counted, isExact: true };
}

/** How many models are suggested. */
const maxSuggested = 3;

/**
 * The same error with next steps: installed models other than `tried` that fit and whose window is long enough, best
 * first; if there are none, what to leave out.
 */
export async function withNextSteps(
  source: RouteSource,
  caller: CallerContext,
  request: GenerateRequest,
  error: PromptTooLong,
  tried: readonly string[],
  signal: AbortSignal,
): Promise<PromptTooLong> {
  const { promptTokens, contextTokens, isExact } = error;
  const { ask } = choiceOf(caller, request);
  const candidates = (await listCandidates(source, true, signal)).map(({ candidate }) => candidate);
  const able = chooseModel({ ...ask, promptTokens }, candidates)
    .chain.map(({ candidate }) => candidate)
    .filter(
      (candidate) =>
        candidate.contextTokens >= promptTokens + leastAnswerTokens &&
        !tried.some((name) => sameModel(name, candidate.model)),
    );
  const wider = [...new Map(able.map((candidate) => [candidate.model, candidate])).values()]
    .slice(0, maxSuggested)
    .map(({ model, contextTokens: tokens }): NextStep => {
      return { step: "useModel", model, because: `a window of ${tokens} tokens` };
    });
  const next = wider.length > 0 ? wider : leaveOut({ promptTokens, isExact, files: ask.files }, contextTokens);
  return new PromptTooLong(error.message, { promptTokens, contextTokens, isExact }, { next, cause: error });
}
