import type { Chat } from "../api/chat.ts";
import { OrchestratorError } from "../api/errors.ts";
import type { RouteExplanation } from "../api/facade-route.ts";
import type { GenerateRequest, GenerateResult, RoutePlan } from "../api/facade.ts";
import type { CallerContext } from "../api/types.ts";
import type { OperationContext } from "../jobs/operations.ts";
import type { GenerationWorld } from "./attempt.ts";
import { type ChainAnswer, type Run, chainFor } from "./chain.ts";
import { type Thread, maxConversationTokens } from "./conversations.ts";
import { longText } from "./budget.ts";
import type { ReadAnswer, Reader } from "./ports.ts";
import { questionOf } from "../util/file-name.ts";
import { unseen } from "./bounded-answer.ts";
import type { ResolvedForModel } from "../routing/model-overrides.ts";
import { type Resolved, originsOf, resolve } from "./resolve.ts";
import { profileOf } from "./route.ts";
import { requestTally } from "./tally.ts";
import { defined } from "../util/values.ts";

export type { GenerationWorld } from "./attempt.ts";

/**
 * Answers a request, as the next turn of its conversation if there is one, and counts it. The work of a `generate`
 * operation.
 */
export function runGeneration(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  context: OperationContext,
): Promise<GenerateResult> {
  const tally = requestTally(world, caller, request);
  const { continueId } = request;
  const given = { world, caller, context, tally };
  return tally.count(
    () => (continueId === undefined ? answerOne(given, request) : answerTurn(given, request, continueId)),
    context.signal,
  );
}

async function answerOne(given: Omit<Run, "request">, request: GenerateRequest): Promise<GenerateResult> {
  const { world, caller } = given;
  const { chat } = request;
  if (chat !== undefined) return answerChat(given, request, chat);
  const asked = { request: withChance(world, resolve(request, caller)), ...given };
  const { result } = await answerRead(asked);
  world.record?.(asked, result);
  return result;
}

async function answerChat(given: Omit<Run, "request">, request: GenerateRequest, chat: Chat): Promise<GenerateResult> {
  const { world, caller } = given;
  const lastModel = request.model === undefined ? world.chats.of(chat)?.model : undefined;
  if (chat.isStreamed === false) Object.assign(given.context, { hasText: () => false });
  const result = await answerRequest({ ...given, request: resolve(request, caller), lastModel });
  world.chats.answered(chat, result);
  return result;
}

async function answerTurn(given: Omit<Run, "request">, request: GenerateRequest, id: string): Promise<GenerateResult> {
  const { world, caller } = given;
  const thread = await world.conversations.begin(id, given.context.signal);
  try {
    const asked = resolve(request, caller, thread);
    const turn = { request: asked, thread, ...given };
    const { result, question = questionOf(request) } = await answerRead(turn);
    // The caller runs the tools, and asks again.
    if (result.toolCalls !== undefined) return result;
    world.record?.(turn, result);
    const conversationTokens = thread.keep({
      question,
      answer: result.text,
      ...(asked.system === undefined ? {} : { system: asked.system }),
      model: result.model,
      isLocalOnly: asked.privacy === "local_only",
    });
    return { continueId: thread.id, conversationTokens, ...result };
  } finally {
    thread.end();
  }
}

/** Now and then a loaded model is tried to learn about it; not in conversations, which stay with their model. */
function withChance({ learned, isBackground = false }: GenerationWorld, request: Resolved): Resolved {
  const random = isBackground || request.model !== undefined ? undefined : learned.chance();
  return random === undefined ? request : { ...request, random };
}

/** What a request would do: the same way, stopped before its first effect. Throws what the request would. */
export async function planGeneration(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
): Promise<RoutePlan> {
  const { continueId } = request;
  const { signal } = caller;
  const thread = continueId === undefined ? undefined : await world.conversations.begin(continueId, signal, true);
  const asked = {
    world,
    caller,
    request: resolve(request, caller, thread),
    thread,
    context: { ...unseen, signal, background: signal },
    tally: requestTally(world, caller, request),
  };
  const planned = await queried(asked);
  const { route, entry, reason, options, plan, promptTokens, notes, parts } = await chainFor(planned)
    .then((chain) => chain.plan())
    .then(
      ({ fitted, ...rest }) => ({
        ...rest,
        ...fitted,
        promptTokens: fitted.prompt.promptTokens,
        notes: [...fitted.notes, ...fitted.budget.notes],
        parts: undefined,
      }),
      (error: unknown) => planParts(asked, error),
    );
  return {
    model: entry.located.model.name,
    engine: entry.located.engine.id,
    reason,
    route: explanationOf(asked.request, { route, entry, options, attempts: [] }),
    plan,
    ...defined({ promptTokens, parts }),
    notes: [...(planned === asked ? [] : [byQuery]), ...notes, ...callerNotes(caller, thread)],
  };
}

const byQuery = "answered by a query over the rows, if the model writes one that runs";

/** The request for a query, for a question about rows. */
async function queried(asked: Run): Promise<Run> {
  const { world, caller, thread, request, context } = asked;
  if (!hasRows(request)) return asked;
  const query = await (await world.reader()).planQuery(request, context.signal);
  return query === undefined ? asked : { ...asked, request: resolve(query, caller, thread) };
}

/** The parts in which a text would be read that is too long. */
async function planParts({ world, request, thread, context: { signal } }: Run, refusal: unknown) {
  if (!isAboutSize(refusal) || request.chat !== undefined) throw refusal;
  const reader = await world.reader();
  const { model, parts } = await reader.plan(longText(world, request, { thread, refusal, signal }));
  const { route, entry, windowTokens } = model;
  const plan = await world.plans.of(entry.located, windowTokens, signal, windowTokens);
  return { ...model, plan, promptTokens: undefined, notes: route.notes, parts };
}

/** From files of rows by a query where it asks for one; else whole, or in parts. */
function answerRead(asked: Run): Promise<ReadAnswer> {
  const { files } = asked.request;
  return files !== undefined && hasRows(asked.request) ? answerRows(asked) : answerText(asked);
}

async function answerRows(asked: Run): Promise<ReadAnswer> {
  const { world, caller, thread, request, context } = asked;
  const reader = await world.reader();
  const answered = await reader.query(
    {
      request,
      context,
      steady: world.steady,
      answer: (part) => answerRequest({ ...asked, ...part }),
      write: (part) => answerRequest({ ...asked, ...part, request: resolve(part.request, caller, thread) }),
    },
    () => answerText(asked),
  );
  // Counted is the task of the question, not that of writing a query.
  asked.tally.decided = request.decided;
  return answered;
}

const rowFiles = /^(?!(?:.*[\\/])?git:).*\.(?:csv|tsv|tab|jsonl|ndjson|json)$/is;

/** Whether all files may be tables that a query is run on. */
function hasRows({ files, images, audio, split }: Resolved): boolean {
  if (files === undefined || files.length === 0 || split === "none") return false;
  return images === undefined && audio === undefined && files.every(({ path }) => rowFiles.test(path));
}

async function answerText(asked: Run): Promise<ReadAnswer> {
  // At once: with many tokens to read, even the choice of a model may take seconds, since the engine has to start for it.
  if (asked.request.files !== undefined) asked.context.report({ message: "choosing a model" });
  try {
    return { result: await answerRequest(asked) };
  } catch (error) {
    return answerLong(asked, error);
  }
}

/** Reads the text of a request in parts if it failed because the text exceeds the windows of all models that may answer. */
async function answerLong(asked: Run, refusal: unknown): ReturnType<Reader["answer"]> {
  if (!isAboutSize(refusal)) throw refusal;
  const { world, request, thread, context } = asked;
  const reader = await world.reader();
  return reader.answer({
    ...longText(world, request, { thread, refusal, signal: context.signal }),
    context,
    steady: world.steady,
    similarities: (query, texts) => world.similarities(query, texts, context.signal),
    answer({ history, ...part }) {
      if (thread === undefined || history === undefined) return answerRequest({ ...asked, ...part });
      // A part is no turn: it stays with the model that reads.
      const { model: _model, ...kept } = thread;
      return answerRequest({ ...asked, ...part, thread: { ...kept, history, droppedMessages: 0 } });
    },
  });
}

/** Whether less text at a time might be answered. */
function isAboutSize(error: unknown): error is OrchestratorError {
  if (!(error instanceof OrchestratorError)) return false;
  return [error, error.cause].some((each) => each instanceof OrchestratorError && each.facts.isAboutSize);
}

/** Answers a request that is decided. Its conversation, if it has one, is read, and kept by the caller. */
async function answerRequest(asked: Run): Promise<GenerateResult> {
  const { world, caller, thread } = asked;
  const startedAtMs = world.steady();
  const answer = await (await chainFor(asked)).answer();
  const notes = [...answer.charged, ...callerNotes(caller, thread)];
  return resultOf(asked.request, answer, notes, world.steady() - startedAtMs);
}

/** Notes about the project, and about messages that were dropped from the conversation before this turn. */
function callerNotes({ project }: CallerContext, thread: Thread | undefined): readonly string[] {
  const notes = project?.waiting === undefined ? [] : [project.waiting];
  if (thread === undefined || thread.droppedMessages === 0) return notes;
  return [
    `the oldest ${thread.droppedMessages} messages of the conversation are no longer kept: ` +
      `it holds ${maxConversationTokens} tokens at most`,
    ...notes,
  ];
}

/** The result for the caller. `notes` are added to those of the attempt; `totalMs` is from the request to the answer. */
function resultOf(request: Resolved, answer: ChainAnswer, notes: readonly string[], totalMs: number): GenerateResult {
  const { route, entry, answered, check, attempts } = answer;
  const { generation, memory } = answered;
  const { queueMs, loadMs, cost } = answer.spent ?? answered;
  const spent = answer.spent ?? generation;
  const { completionTokens, decodeMs } = generation;
  // The time of the first token belongs to the prompt: a speed from one token would be absurdly high.
  const tokensPerSecond = completionTokens > 1 && decodeMs > 0 ? (completionTokens * 1000) / decodeMs : 0;
  return defined({
    text: generation.text,
    thinking: generation.thinking,
    toolCalls: generation.toolCalls,
    model: entry.located.model.name,
    engine: entry.located.engine.id,
    isRemote: entry.candidate.trust === "remote" ? (true as const) : undefined,
    finishReason: generation.finishReason,
    stopText: generation.stopText,
    reason: withHistory(answer),
    promptTokens: spent.promptTokens,
    cachedPromptTokens: spent.cachedPromptTokens,
    restoredPromptTokens: answer.spent ? undefined : generation.restoredPromptTokens || undefined,
    completionTokens: spent.completionTokens,
    tokensPerSecond,
    totalMs,
    cost,
    timing: { queueMs, loadMs, firstTokenMs: spent.firstTokenMs },
    route: explanationOf(request, { route, entry, options: answered.options, attempts }),
    notes: [...answered.notes, ...(answer.spent?.notes ?? []), ...notes],
    memoryUsed: memory && { keys: memory.keys, tokens: memory.tokens },
    check,
    values: answered.values,
  });
}

/** Most of it is seldom read. */
function explanationOf(
  request: Resolved,
  {
    route,
    entry,
    options,
    attempts,
  }: Pick<ChainAnswer, "route" | "entry" | "attempts"> & { readonly options: ResolvedForModel },
): RouteExplanation {
  return {
    task: route.task,
    because: route.because,
    ...profileOf(route),
    get considered() {
      return route.considered;
    },
    get options() {
      return originsOf(request, entry.located.model.name, options);
    },
    attempts,
  };
}

/** The reason with the failed attempts. A prompt that is too long is not a failure of the model. */
function withHistory({ reason, attempts, failures }: ChainAnswer): string {
  if (failures.length === 0) return reason;
  const modelsThat = (matches: (failure: OrchestratorError) => boolean) => [
    ...new Set(failures.flatMap((failure, at) => (matches(failure) ? [attempts[at]?.model ?? ""] : []))),
  ];
  const isUnchecked = (failure: OrchestratorError) => failure.facts.code === "check_failed";
  const isTooLong = (failure: OrchestratorError) => failure.facts.code === "prompt_too_long";
  const tooShort = modelsThat(isTooLong);
  const unchecked = modelsThat(isUnchecked);
  const failed = modelsThat((failure) => !isTooLong(failure) && !isUnchecked(failure));
  const [window, is] = tooShort.length === 1 ? ["window", "is"] : ["windows", "are"];
  return [
    reason,
    ...(tooShort.length === 0 ? [] : [`the ${window} of ${tooShort.join(", ")} ${is} too short`]),
    ...(failed.length === 0 ? [] : [`after ${failed.join(", ")} failed`]),
    ...(unchecked.length === 0 ? [] : [`the check of ${unchecked.join(", ")} failed`]),
  ].join("; ");
}
