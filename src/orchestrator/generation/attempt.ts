import type { Chat, ChatMessage, ToolUse } from "../api/chat.ts";
import { OrchestratorError, PromptTooLong, throwIfCancelled } from "../api/errors.ts";
import type { Emit, EndedAttempt } from "../api/events.ts";
import type { MemoryInjection } from "../api/facade-recall.ts";
import type { Cost } from "../api/cost.ts";
import type { CallerContext, Progress } from "../api/types.ts";
import { chargedTokens, imageTokens, worstTokens } from "../routing/cost.ts";
import { estimateTokens } from "../routing/tokens.ts";
import { answerCharacters, type GenerationRequest } from "../engines/generation.ts";
import type { OperationContext } from "../jobs/operations.ts";
import { idOf } from "../catalog/located-model.ts";
import type { Health } from "../residency/health.ts";
import type { KeepAlive } from "../residency/keep-alive.ts";
import type { MoreSequences } from "../residency/more-sequences.ts";
import { backgroundPriority, type Permit } from "../residency/queue-requests.ts";
import type { RequestQueues } from "../residency/request-queues.ts";
import { type RetryOptions, retrying } from "../util/retry.ts";
import { AnswerSink, boundedAnswer } from "./bounded-answer.ts";
import { type PromptSize, narrowed, requestBudget, sizePrompt } from "./budget.ts";
import type { LocatedCandidate } from "./candidates.ts";
import type { Answered, Judging, Reader, Recorder } from "./ports.ts";
import type { createConversations } from "./conversations.ts";
import { type createChatHomes, steadyMessages } from "./chat-prefix.ts";
import type { createCopies } from "./copies.ts";
import { buildMessages, ownDefaults } from "./prompt.ts";
import { type ResolvedForModel, forModel } from "../routing/model-overrides.ts";
import type { Resolved } from "./resolve.ts";
import type { Route, RouteSource } from "./route.ts";
import type { SpendingLedger } from "../money/spending.ts";
import { defined, messageOf } from "../util/values.ts";

export interface GenerationWorld extends RouteSource, Recorder {
  readonly queues: RequestQueues;
  /** Chooses among several engines that hold a model. */
  readonly copies: ReturnType<typeof createCopies>;
  /** Its requests are served after all others. */
  readonly isBackground?: boolean;
  /** Its answers are made to be compared: nothing is saved by them. */
  readonly isCompared?: boolean;
  /** Nothing may happen: what would be done is asked. */
  readonly isPlan?: boolean;
  readonly conversations: ReturnType<typeof createConversations>;
  /** Where the conversations of programs were answered. */
  readonly chats: ReturnType<typeof createChatHomes>;
  /** Monotonic milliseconds, for durations. */
  readonly steady: () => number;
  /** Remembered entries for this prompt. */
  readonly inject: (
    caller: CallerContext,
    prompt: string,
    maxTokens: number,
    countTokens: (text: string) => Promise<number>,
    isUsed: boolean,
  ) => Promise<MemoryInjection | undefined>;
  /** Tracks requests that wait for tokens, and the tokens. */
  readonly health: Pick<Health, "begin">;
  readonly keepAlive: Pick<KeepAlive, "forAnswer" | "answered">;
  /** A second cache for conversations that alternate on one model. */
  readonly sequences: MoreSequences;
  readonly emit: Emit;
  /** Reserves what a request may cost, before it is sent. */
  readonly spending: Pick<SpendingLedger, "ready" | "left" | "reserve">;
  /** For a request with a format or a check. */
  readonly judge: Judging;
  /** For a text that is too long. */
  readonly reader: () => Promise<Reader>;
  readonly similarities: (query: string, texts: readonly string[], signal: AbortSignal) => Promise<readonly number[]>;
}

/** A request to one model of its route. */
export interface Ask {
  /** Takes the tokens of an attempt that broke off, and what they cost. */
  readonly spent?: (tokens: Pick<EndedAttempt, "promptTokens" | "completionTokens">, cost: Cost | undefined) => void;
  readonly caller: CallerContext;
  /** With its system prompt, unless that is the model's own. */
  readonly request: Resolved;
  /** The conversation so far, and what precedes the prompt of a correction. */
  readonly history: readonly ChatMessage[];
  readonly route: Route;
  readonly entry: LocatedCandidate;
  /** The answer that it corrects, whose remembered entries are used. */
  readonly corrects?: Answered | undefined;
}

/** Largest share of a context window for remembered entries. */
const memoryShare = 1 / 8;

const maxListedKeys = 5;

/** A request as one model gets it. Nothing has happened for it yet. */
export interface Fitted {
  readonly options: ResolvedForModel;
  readonly messages: readonly ChatMessage[];
  readonly prompt: PromptSize;
  readonly budget: ReturnType<typeof requestBudget>;
  readonly memory: MemoryInjection | undefined;
  readonly notes: readonly string[];
}

/** Asks one model: waits for a slot, loads it if necessary, and sends the request. Throws the error of any of these. */
export function attempt(world: GenerationWorld, ask: Ask, context: OperationContext): Promise<Answered> {
  return fitting(world, ask, context.signal, async (fitted) => {
    const answered = await answerOnce(world, ask, fitted, context);
    return { ...answered, notes: [...fitted.notes, ...answered.notes] };
  });
}

/** The same, stopped before its first effect. */
export function planAttempt(world: GenerationWorld, ask: Ask, signal: AbortSignal): Promise<Fitted> {
  return fitting({ ...world, isPlan: true }, ask, signal, async (fitted) => fitted);
}

/** Fits the request to the model, with less of the conversation if it is too long, also by the count of the engine. */
async function fitting<Result>(
  world: Pick<GenerationWorld, "inject" | "inventory" | "log" | "isPlan">,
  ask: Ask,
  signal: AbortSignal,
  act: (fitted: Fitted) => Promise<Result>,
): Promise<Result> {
  const { corrects, request, entry, route } = ask;
  const { located } = entry;
  const { chat, after }: Partial<Resolved> = entry.candidate.trust === "local" ? request : {};
  const found = corrects === undefined ? await remembered(world, ask, signal) : corrects.memory;
  const memory = found === undefined || found.keys.length === 0 ? undefined : found;
  const left = leftOutNotes(ask, found?.leftOut ?? []);
  const options = forModel(request, located.model.name, await ownDefaults(world, located, signal));
  const { vocabularySize } = world.inventory.knownFacts(located) ?? {};
  for (let { history } = ask, shortened: readonly string[] = []; ;) {
    try {
      const messages =
        chat === undefined
          ? buildMessages(request, { system: options.system, memory: memory?.text, history, after })
          : steadyMessages(chat);
      // Before queueing, so that a prompt that is too long is refused at once.
      const prompt = await sizePrompt(entry, vocabularySize, messages, request, signal, world.isPlan);
      const budget = requestBudget(options, entry, prompt, request.chat !== undefined);
      return await act({ options, messages, prompt, budget, memory, notes: [...route.notes, ...shortened, ...left] });
    } catch (error) {
      if (!(error instanceof PromptTooLong) || history.length === 0) throw error;
      // The conversation exceeds the window: drop the older half of its turns.
      history = history.slice(Math.ceil(history.length / 4) * 2);
      const leftOut = ask.history.length - history.length;
      shortened = [`the oldest ${leftOut} messages of the conversation were left out: ${error.message}`];
    }
  }
}

/** Remembered entries; none for remote engines, or when the request or the setting disables them. */
async function remembered(
  world: Pick<GenerationWorld, "inject" | "log" | "isPlan">,
  { caller, request, entry }: Ask,
  signal: AbortSignal,
): Promise<MemoryInjection | undefined> {
  const { engine, model } = entry.located;
  const { trust } = entry.candidate;
  const maxTokens = memoryTokens(request, entry);
  if (trust !== "local" || maxTokens <= 0) return undefined;
  try {
    return await world.inject(
      caller,
      request.prompt,
      maxTokens,
      // Exact if the model is loaded.
      async (text) => (await engine.tokenizer?.count(model.name, text, signal)) ?? estimateTokens(text),
      world.isPlan !== true,
    );
  } catch (error) {
    // The request is answered without them; the log and the status have the reason.
    world.log.warn(`memory: ${messageOf(error)}`);
    return undefined;
  }
}

/** Limit for remembered entries in a prompt, in tokens. */
function memoryTokens(request: Resolved, { candidate }: LocatedCandidate): number {
  return Math.min(request.memoryTokens, Math.floor(candidate.contextTokens * memoryShare));
}

/** A note about pinned entries that did not fit: they are expected in every prompt. */
function leftOutNotes({ request, entry }: Ask, keys: readonly string[]): readonly string[] {
  if (keys.length === 0) return [];
  const tokens = memoryTokens(request, entry);
  const limit = tokens < request.memoryTokens ? "an eighth of the context" : "recall.injectTokens";
  const named = keys.slice(0, maxListedKeys).map((key) => `"${key}"`);
  const more = keys.length > named.length ? ` and ${keys.length - named.length} more` : "";
  return [
    `pinned memories were left out: ${named.join(", ")}${more}; memories are limited to ${tokens} tokens (${limit})`,
  ];
}

async function answerOnce(
  world: GenerationWorld,
  ask: Ask,
  { options, messages, memory, ...fitted }: Fitted,
  context: OperationContext,
): Promise<Answered> {
  let { prompt, budget } = fitted;
  let waitedMs = 0;
  for (let isRetry = false; ; isRetry = true) {
    const slot = await makeReady(world, ask, budget, context).catch(async (error: unknown) => {
      if (ask.request.chat === undefined) throw error;
      // Its answer may have less room than was wanted.
      ({ prompt, budget } = await narrowed(world, ask, { messages, prompt, budget }, error, context.signal));
      return makeReady(world, ask, budget, context);
    });
    waitedMs += slot.waitedMs;
    if (ask.request.chat !== undefined) reportReady(ask, { queueMs: waitedMs, loadMs: slot.loadMs }, context);
    try {
      const contextTokens = slot.resident?.contextTokens ?? budget.contextTokens;
      const { maxTokens, isUnlimited } = budget;
      const sized = { maxTokens, isUnlimited, contextTokens, sampling: options.sampling, ...prompt };
      const sent = await send(world, ask, messages, sized, slot, context);
      const { generation, cost, notes } = sent;
      return {
        options,
        generation,
        cost,
        memory,
        notes: [...budget.notes, ...notes],
        queueMs: waitedMs + (generation.queueMs ?? 0),
        loadMs: slot.loadMs + generation.loadMs,
      };
    } catch (error) {
      // The engine counted the prompt: retry once with a larger context, up to the model's window.
      if (!(error instanceof PromptTooLong) || isRetry) throw error;
      const { promptTokens, isExact } = error;
      // A count that the engine did not state is a lower bound.
      prompt = { promptTokens: isExact ? promptTokens : Math.max(promptTokens, prompt.promptTokens), isExact };
      budget = requestBudget(options, ask.entry, prompt, ask.request.chat !== undefined);
    } finally {
      slot.release();
    }
  }
}

function reportReady({ route, entry }: Ask, times: Pick<Progress, "queueMs" | "loadMs">, context: OperationContext) {
  const { name: model } = entry.located.model;
  const reason = route.chain.find((step) => step.entry.located.model.name === model)?.reason;
  context.report({ message: `${model} is ready`, model, ...times, ...defined({ reason }) });
}

/** A slot on the model. The keep-alive is sent with the answer request, not with the load. */
function makeReady(
  { queues, isBackground = false }: GenerationWorld,
  { caller, entry }: Ask,
  { neededTokens, contextTokens }: Fitted["budget"],
  context: OperationContext,
): Promise<Permit> {
  const { located } = entry;
  const { maxWaitMs } = caller.settings.queue;
  return queues.ensureReady({
    id: idOf(located),
    located,
    caller: caller.id,
    priority: isBackground ? backgroundPriority : 0,
    neededTokens,
    contextTokens,
    // Background requests have no time limit: they are served after everything else.
    ...(maxWaitMs === undefined || isBackground ? {} : { maxWaitMs }),
    signal: context.signal,
    get background() {
      return context.background;
    },
    report: (progress) => context.report({ ...progress, model: located.model.name }),
  });
}

async function send(
  world: GenerationWorld,
  ask: Ask,
  messages: readonly ChatMessage[],
  budget: PromptSize &
    Pick<Fitted["budget"], "contextTokens" | "maxTokens" | "isUnlimited"> &
    Pick<ResolvedForModel, "sampling">,
  slot: Permit,
  context: OperationContext,
): Promise<Pick<Answered, "generation" | "cost" | "notes">> {
  const { caller, request, entry } = ask;
  const { engine, model } = entry.located;
  const { format, think, choices, cachePrompt, tools } = request;
  const keepAliveSeconds = world.keepAlive.forAnswer(engine, model.name, request.keepAliveSeconds);
  const { sequences } = world;
  const more = await sequences.grant(entry.located, budget.contextTokens, slot.crowd);
  const engineRequest: GenerationRequest = {
    model: model.name,
    messages,
    ...defined({ format, think, choices, keepAliveSeconds, cachePrompt, tools }),
    maxTokens: budget.maxTokens,
    sampling: budget.sampling,
    contextTokens: budget.contextTokens,
    ...(more === undefined ? {} : { sequences: more.sequences }),
    ...(request.chat && { ...toolUseOf(request.chat), ...(budget.isUnlimited && { isUnlimited: true }) }),
    ...(engine.pausesAnswers === true && { background: context.background }),
    trace: caller.trace,
  };
  let images = 0;
  for (const message of messages) images += message.images?.length ?? 0;
  const worst = worstTokens({ images, ...budget });
  const bill = await world.spending.reserve(engine, model.name, worst).catch((error: unknown) => {
    more?.release();
    throw error;
  });
  const sign = world.health.begin(engine, model.name, budget.promptTokens);
  const sink = new AnswerSink(model.name, context, sign, answerCharacters(budget.maxTokens), world.steady);
  const promptTokens = budget.promptTokens + images * imageTokens;
  // From then on its cache is part of what the model takes.
  sink.begun = more?.release;
  try {
    const answer = await answerAgain(world, caller, context, sink, () => {
      if (entry.candidate.trust === "remote") world.emit({ kind: "remote request sent", engine: engine.id });
      return boundedAnswer(engine, engineRequest, sink, context.signal);
    });
    const { estimatedUsage } = answer.generation;
    const charged =
      bill && chargedTokens(answer.generation, { worst, promptTokens, textTokens: budget.promptTokens }, sink.tokens);
    const bound = charged && (await bill.settle(charged.tokens, charged.doubt !== undefined));
    world.keepAlive.answered(engine, model.name, keepAliveSeconds);
    sequences.answered(entry.located, answer.generation);
    const { completionTokens, decodeMs, answeredBy } = answer.generation;
    world.observations.generated(idOf(entry.located), completionTokens, decodeMs, answer.generation);
    const notes = [
      ...answer.notes,
      ...(charged?.doubt === "missing" ? ["the cost is estimated: the server did not report the tokens"] : []),
      ...(estimatedUsage === "impossible"
        ? [`the tokens are estimated: ${engine.id} reported counts that can't be true`]
        : []),
      ...(charged?.doubt === "impossible"
        ? [
            `the cost is what was reserved, and the bill may be higher: the tokens that ${engine.id} reported can't be true`,
          ]
        : []),
      ...(bound?.note === undefined ? [] : [bound.note]),
      ...(answeredBy === undefined || entry.candidate.trust !== "remote"
        ? []
        : [`${engine.id} says that ${answeredBy} answered, not ${model.name}`]),
    ];
    return { generation: answer.generation, cost: bound?.cost, notes };
  } catch (error) {
    sign.end(error);
    // Services charge for what they have begun to answer, also for an answer that its caller cancels.
    if (sink.hasText || (bill !== undefined && context.signal.aborted)) {
      const tokens = { promptTokens, completionTokens: sink.tokens };
      ask.spent?.(tokens, (await bill?.settle(tokens, true))?.cost);
    } else await bill?.release();
    throw error;
  } finally {
    sign.end();
    more?.release();
    if (keepAliveSeconds === 0) world.inventory.forgetResidency(engine);
  }
}

const toolUseOf = ({ tools, toolChoice, singleCall }: Chat): ToolUse => defined({ tools, toolChoice, singleCall });

/** Below the chain: another model is tried when this one has failed three times. */
const retryOptions: RetryOptions = { retries: 2, initialDelayMs: 200, maxDelayMs: 2_000 };

/**
 * Repeats a request that failed in a way that may be over a moment later (`isTransient`), unless a part of its answer was
 * passed on, its server asked for a wait, or `queue.maxWaitMs` has passed.
 */
async function answerAgain<Answer>(
  { steady, log }: GenerationWorld,
  { settings }: CallerContext,
  { signal, report }: OperationContext,
  sink: Pick<AnswerSink, "hasText">,
  attemptOnce: () => Promise<Answer>,
): Promise<Answer> {
  const untilMs = steady() + (settings.queue.maxWaitMs ?? Number.POSITIVE_INFINITY);
  const isWorthIt = (error: unknown): error is OrchestratorError =>
    error instanceof OrchestratorError &&
    error.isTransient &&
    error.retryAfterMs === undefined &&
    !sink.hasText &&
    steady() < untilMs;
  try {
    return await retrying(
      {
        attempt: attemptOnce,
        faultOf: (error) => (isWorthIt(error) ? error : undefined),
        onRetry({ message }, retry) {
          log.info(`${message}; asking again (${retry} of ${retryOptions.retries})`);
          report({ message: `${message}; asking again` });
        },
      },
      retryOptions,
      signal,
    );
  } catch (error) {
    throwIfCancelled(signal, "the request");
    throw error;
  }
}
