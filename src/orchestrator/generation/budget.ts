import { Cancelled, InvalidRequest, ModelDoesNotFit, OrchestratorError, PromptTooLong } from "../api/errors.ts";
import type { ChatMessage, ToolUse } from "../api/chat.ts";
import type { GenerateRequest, LoadRequest } from "../api/facade.ts";
import { type NextStep, stepsOf } from "../api/next-step.ts";
import type { CallerContext } from "../api/types.ts";
import { factsOf } from "../catalog/known-facts.ts";
import { takesNoMemory } from "../catalog/located-model.ts";
import { needsCount, sureTokens } from "../routing/tokens.ts";
import { canonicalContext, defaultContextTokens } from "../memory/reading.ts";
import { leastAnswerTokens } from "../routing/candidate.ts";
import { describeFromDatabase } from "../routing/database.ts";
import { chooseModel } from "../routing/choose.ts";
import { leaveOut } from "../routing/explain.ts";
import { counted } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { maxParallelOf } from "../residency/request-queues.ts";
import { type CandidateSource, type LocatedCandidate, listCandidates } from "./candidates.ts";
import { type Thread, newestTurns } from "./conversations.ts";
import type { LongText } from "./ports.ts";
import { buildMessages, countPromptTokens, ownDefaults } from "./prompt.ts";
import { type ResolvedForModel, forModel, paidLimit, unlimitedTokens } from "../routing/model-overrides.ts";
import type { Resolved } from "./resolve.ts";
import { type RouteSource, choiceOf, chooseRoute } from "./route.ts";
import { defined } from "../util/values.ts";

/** Tokens reserved for an answer if the request has no limit; the answer may use more if the context has room. */
const defaultAnswerTokens = 1024;
/** The same for a program's conversation, whose limit is the most that an answer may have, not what it needs. */
const chatAnswerTokens = 4096;

/** The budget of a request on one model, from its options there and the model's limits. */
export function requestBudget(
  { maxTokens, contextTokens, from }: ResolvedForModel,
  { located: { engine, model }, candidate }: LocatedCandidate,
  prompt: PromptSize,
  isChat = false,
) {
  const [isAsked, isContextAsked] = [from.maxTokens === "request", from.contextTokens === "request"];
  const isPaid = engine.pricesOf?.(model.name) !== undefined;
  // Its server alone knows the window, and refuses what is too long.
  const isAssumed = isChat && !candidate.isKnown && engine.residency === undefined && model.contextTokens === undefined;
  return tokenBudget({
    model: candidate.model,
    ...prompt,
    maxTokens: isAsked ? maxTokens : undefined,
    defaultMaxTokens: isPaid ? paidLimit(maxTokens) : maxTokens,
    contextTokens: isContextAsked ? contextTokens : undefined,
    defaultContextTokens: contextTokens,
    windowTokens: isAssumed ? undefined : candidate.contextTokens,
    outputTokens: candidate.outputTokens,
    reservedTokens: isChat ? chatAnswerTokens : defaultAnswerTokens,
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
  /** Room for an answer without a limit of the request. */
  readonly reservedTokens?: number;
}) {
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
  const answerTokens =
    ask.maxTokens === undefined ? Math.min(maxTokens, ask.reservedTokens ?? defaultAnswerTokens) : maxTokens;
  const wantedTokens = Math.max(promptTokens + answerTokens, leastTokens ?? 0);
  return {
    /** Minimum context of the request: a model that is loaded with at least this much is used as it is. */
    neededTokens: windowTokens === undefined ? wantedTokens : Math.min(wantedTokens, windowTokens),
    /** Context for a load, if the model must be loaded. */
    contextTokens: canonicalContext({
      atLeastTokens: Math.max(wantedTokens, leastTokens ?? defaultContextTokens),
      windowTokens,
    }),
    maxTokens,
    /** Nothing but the window limits the answer. */
    isUnlimited: ask.defaultMaxTokens >= unlimitedTokens,
    /** How the budget differs from the request. */
    notes: notes as readonly string[],
  };
}

/** In tokens. */
export interface PromptSize {
  readonly promptTokens: number;
  /** Counted by the model's tokenizer, not estimated. */
  readonly isExact: boolean;
}

/**
 * The size of a prompt for a model. Counting takes up to a second, so it is done only if the estimate leaves open whether
 * the prompt fits and a tokenizer is available, or if a program asks for the plan of its conversation.
 */
export async function sizePrompt(
  { located, candidate }: LocatedCandidate,
  vocabularySize: number | undefined,
  messages: readonly ChatMessage[],
  request: Pick<GenerateRequest, "think" | "format" | "chat" | "tools">,
  signal: AbortSignal,
  isPlan = false,
): Promise<PromptSize> {
  const { engine, model } = located;
  const { think, format, chat } = request;
  const { tools, toolChoice }: ToolUse = chat ?? request;
  const estimated = { promptTokens: countPromptTokens(messages, vocabularySize, defined({ tools })), isExact: false };
  const isCounted = isPlan && chat !== undefined;
  if (!isCounted && !needsCount(estimated.promptTokens, candidate.contextTokens)) return estimated;
  const exact = await engine.tokenizer?.countPrompt(
    {
      model: model.name,
      messages,
      ...defined({ think, format, tools, toolChoice }),
    },
    signal,
  );
  return exact === undefined ? estimated : { promptTokens: exact, isExact: true };
}

/**
 * A program's conversation with the widest context that fits memory, where the wanted one doesn't: the answer has what the
 * prompt leaves of it. Throws `PromptTooLong` with that width if it leaves nothing, and the refusal if no context fits.
 */
export async function narrowed<Budget extends ReturnType<typeof tokenBudget>>(
  { plans, inventory }: Pick<CandidateSource, "plans" | "inventory">,
  { entry, request }: { readonly entry: LocatedCandidate; readonly request: Resolved },
  {
    messages,
    budget,
    ...given
  }: {
    readonly messages: readonly ChatMessage[];
    readonly prompt: PromptSize;
    readonly budget: Budget;
  },
  refusal: unknown,
  signal: AbortSignal,
): Promise<{ readonly prompt: PromptSize; readonly budget: Budget }> {
  const { located, candidate } = entry;
  const steps = refusal instanceof OrchestratorError ? refusal.next : [];
  const fitting = steps.flatMap((step) =>
    step.step === "lowerArgument" && step.argument === "context" ? (step.to ?? []) : [],
  )[0];
  if (fitting === undefined) throw refusal;
  // The refusal names a power of two; two plans find the context to a quarter of it.
  let contextTokens = fitting;
  for (const step of [fitting / 2, fitting / 4]) {
    const wider = contextTokens + step;
    if (wider < budget.contextTokens && (await plans.wouldFitWhenIdle(located, wider, signal))) contextTokens = wider;
  }
  const { vocabularySize } = inventory.knownFacts(located) ?? {};
  const inContext = { located, candidate: { ...candidate, contextTokens } };
  const prompt = given.prompt.isExact
    ? given.prompt
    : await sizePrompt(inContext, vocabularySize, messages, request, signal);
  const { promptTokens, isExact } = prompt;
  const room = contextTokens - (isExact ? promptTokens : sureTokens(promptTokens));
  if (room < leastAnswerTokens) {
    throw new PromptTooLong(
      `the prompt has ${isExact ? "" : "about "}${promptTokens} tokens; the widest context of ${candidate.model} that fits in memory has ${contextTokens}`,
      { promptTokens, contextTokens, isExact },
      { next: steps.filter(({ step }) => /^(?:advice|unpinModels|raiseSetting)$/.test(step)), cause: refusal },
    );
  }
  const note = `context limited to ${contextTokens} tokens instead of ${budget.contextTokens}: more does not fit in memory`;
  return {
    prompt,
    budget: {
      ...budget,
      contextTokens,
      neededTokens: Math.min(budget.neededTokens, contextTokens),
      maxTokens: Math.min(budget.maxTokens, room),
      notes: [...budget.notes, note],
    },
  };
}

/** How many models are suggested. */
const maxSuggested = 3;

/**
 * The same error with next steps: installed models other than `tried` that fit and whose window is long enough, best
 * first; if there are none, what to leave out.
 */
export async function withNextSteps(
  source: RouteSource,
  request: Resolved,
  error: PromptTooLong,
  tried: readonly string[],
  signal: AbortSignal,
): Promise<PromptTooLong> {
  const { promptTokens, contextTokens, isExact } = error;
  const { ask } = choiceOf(request);
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
  // What makes room in memory for a wider context.
  const roomier = error.cause instanceof ModelDoesNotFit ? error.next : [];
  const shorter = leaveOut({ promptTokens, isExact, files: ask.files }, contextTokens);
  const next = [...(wider.length > 0 ? wider : stepsOf(shorter)), ...roomier];
  return new PromptTooLong(error.message, { promptTokens, contextTokens, isExact }, { next, cause: error });
}

/**
 * The engine and context size for loading a model; `elsewhere` are the other engines that list it. Throws `UnknownModel`,
 * `InvalidRequest`.
 */
export async function loadTarget(
  source: Pick<CandidateSource, "inventory" | "log">,
  caller: CallerContext,
  request: LoadRequest,
) {
  const [located, ...others] = await source.inventory.locate(request.model);
  const { engine, model } = located;
  if (takesNoMemory(located)) {
    const why = engine.residency === undefined ? "is loaded by" : "runs in the cloud of";
    throw new InvalidRequest(`${model.name} ${why} ${engine.id}, so it can't be loaded here`, {
      next: { step: "chooseModel", that: "on this machine" },
    });
  }
  const facts = await factsOf(source, located, caller.signal);
  const { contextTokens: windowTokens } = describeFromDatabase(model.name, facts);
  const own = await ownDefaults(source, located, caller.signal);
  const { settings } = caller;
  const { contextTokens: atLeastTokens } = forModel(
    { settings, ...defined({ contextTokens: request.contextTokens }) },
    model.name,
    own,
  );
  if (request.contextTokens !== undefined && request.contextTokens > windowTokens) {
    throw new InvalidRequest(
      `a context of ${request.contextTokens} tokens exceeds the window of ${model.name}, which has ${windowTokens}`,
      { next: { step: "lowerArgument", argument: "context", to: windowTokens } },
    );
  }
  const elsewhere = others.filter((other) => !takesNoMemory(other));
  return { located, elsewhere, contextTokens: canonicalContext({ atLeastTokens, windowTokens }) };
}

/** Windows are used up to this: short texts are read more carefully, and progress is reported. */
const maxWindowTokens = 32_768;

const noPrompt = { promptTokens: 0, isExact: true };

/** A text for its reader. The model is chosen by the route of all requests, and read with the context that needs no reload. */
export function longText(
  world: RouteSource,
  request: Resolved,
  { thread, refusal, signal }: { readonly thread: Thread | undefined } & Pick<LongText, "refusal" | "signal">,
): LongText {
  return {
    request,
    refusal,
    signal,
    async choose(reading) {
      const route = await chooseRoute(world, reading, signal, new Set(), thread?.model).catch((error: unknown) => {
        throw error instanceof Cancelled ? error : refusal;
      });
      const [step] = route.chain;
      if (step === undefined) throw refusal;
      const { entry, reason } = step;
      const own = await ownDefaults(world, entry.located, signal);
      const options = forModel(reading, entry.located.model.name, own);
      const windowTokens = windowOf(world, entry, requestBudget(options, entry, noPrompt).contextTokens);
      const vocabularySize = world.inventory.knownFacts(entry.located)?.vocabularySize;
      const { history: all = [] } = thread ?? {};
      const turns = Array.from({ length: all.length / 2 }, (_, index) => all.slice(2 * index, 2 * index + 2));
      const history = newestTurns(turns, (turn) => countPromptTokens(turn, vocabularySize), windowTokens / 8).flat();
      return {
        route,
        entry,
        reason,
        windowTokens,
        options,
        parallel: maxParallelOf(reading.settings.models, entry.located),
        history,
        vocabularySize,
        sizeOf: (prompt) =>
          countPromptTokens(buildMessages({ ...reading, prompt }, { system: options.system, history }), vocabularySize),
      };
    },
  };
}

/** The context for each request: that of the loaded model, else that of a load. */
function windowOf(world: RouteSource, { located, candidate }: LocatedCandidate, defaultTokens: number): number {
  const { engine, model } = located;
  if (takesNoMemory(located)) return Math.min(candidate.contextTokens, maxWindowTokens);
  const resident = world.loaded.known(engine).find(({ name }) => sameModel(name, model.name));
  const loadedTokens = Math.min(resident?.contextTokens ?? 0, maxWindowTokens);
  return Math.min(candidate.contextTokens, Math.max(defaultTokens, loadedTokens));
}
