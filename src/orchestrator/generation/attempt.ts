import { estimateTokens } from "../catalog/tokens.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import type { GenerationRequest, GenerationSink, ChatMessage } from "../engines/generation.ts";
import { PromptTooLong } from "../errors.ts";
import type { MemoryInjection } from "../facade-recall.ts";
import type { GenerateRequest } from "../facade.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Liveness, Sign } from "../liveness/liveness.ts";
import type { OperationContext } from "../operations/operations.ts";
import type { RequestSlot } from "../queue/queue-world.ts";
import type { RequestQueues } from "../queue/request-queues.ts";
import type { CallerContext } from "../types.ts";
import { type BoundedAnswer, boundedAnswer } from "./bounded-answer.ts";
import { requestBudget, type TokenBudget } from "./budget.ts";
import type { LocatedCandidate } from "./candidates.ts";
import type { Conversations } from "./conversations.ts";
import type { Copies } from "./copies.ts";
import { type OwnDefaults, ownDefaults, settingOrOwn } from "./own-defaults.ts";
import { countPromptTokens } from "./prompt.ts";
import { messagesFor, sizePrompt } from "./prompt-size.ts";
import type { Route, RouteSource } from "./route.ts";

export interface GenerationWorld extends RouteSource {
  readonly queues: RequestQueues;
  /** Which of several hosts answers. */
  readonly copies: Copies;
  /** Its requests go after those of all others. */
  readonly isBackground?: boolean;
  readonly conversations: Conversations;
  /** Milliseconds of a clock that nobody sets, for durations. */
  readonly steady: () => number;
  /** What is remembered and goes into this prompt. */
  readonly inject: (
    caller: CallerContext,
    prompt: string,
    maxTokens: number,
    countTokens: (text: string) => Promise<number>,
  ) => Promise<MemoryInjection | undefined>;
  /** Told of tokens, and of requests that wait for them. */
  readonly liveness: Pick<Liveness, "begin">;
  /** Counts what is sent to engines whose trust is not local. */
  readonly noteRemote: () => void;
}

/** A request on its way to one model of its route. */
export interface Ask {
  readonly caller: CallerContext;
  /** Its system prompt is settled, but for the model's own. */
  readonly request: GenerateRequest;
  /** The conversation so far. */
  readonly history: readonly ChatMessage[];
  readonly route: Route;
  readonly entry: LocatedCandidate;
}

export interface Answered {
  readonly generation: BoundedAnswer;
  readonly notes: readonly string[];
  readonly queueMs: number;
  readonly loadMs: number;
  readonly memory: MemoryInjection | undefined;
}

/** What is remembered takes at most this part of a window: in a small one the question matters more. */
const memoryShare = 1 / 8;

const maxNamedKeys = 5;

/** Has one model answer: waits for its turn, makes it ready, and sends. Throws whatever stood in the way. */
export async function attempt(world: GenerationWorld, ask: Ask, context: OperationContext): Promise<Answered> {
  const found = await remembered(world, ask, context.signal);
  const memory = found === undefined || found.keys.length === 0 ? undefined : found;
  const left = leftOutNotes(ask, found?.leftOut ?? []);
  for (let { history } = ask, notes = ask.route.notes; ;) {
    try {
      const answered = await answerOnce(world, { ...ask, history }, memory, context);
      return { ...answered, notes: [...notes, ...left, ...answered.notes], memory };
    } catch (error) {
      if (!(error instanceof PromptTooLong) || history.length === 0) throw error;
      // A conversation outgrows every window: its older half goes, whole turns at a time.
      history = history.slice(Math.ceil(history.length / 4) * 2);
      const leftOut = ask.history.length - history.length;
      notes = [
        ...ask.route.notes,
        `the oldest ${leftOut} messages of the conversation were left out: ${error.message}`,
      ];
    }
  }
}

/** Never for an engine that is not local; nor when the request, or the setting, wants none. */
async function remembered(
  world: GenerationWorld,
  { caller, request, entry }: Ask,
  signal: AbortSignal,
): Promise<MemoryInjection | undefined> {
  const { engine, model } = entry.located;
  const { trust } = entry.candidate;
  const maxTokens = memoryTokens(caller, entry);
  if (request.useMemory === false || trust !== "local" || maxTokens <= 0) return undefined;
  try {
    return await world.inject(
      caller,
      request.prompt,
      maxTokens,
      // Exact where the model is loaded.
      async (text) => (await engine.tokenizer?.count(model.name, text, signal)) ?? estimateTokens(text),
    );
  } catch (error) {
    // A question is worth an answer without it; why stands in the log and in system_status.
    world.log.warn(`memory: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Most tokens of remembered entries in a prompt. */
function memoryTokens(caller: CallerContext, { candidate }: LocatedCandidate): number {
  return Math.min(caller.settings.injectTokens, Math.floor(candidate.contextTokens * memoryShare));
}

/** A pinned entry is meant to be in every prompt: where it isn't, the answer says so. */
function leftOutNotes({ caller, entry }: Ask, keys: readonly string[]): readonly string[] {
  if (keys.length === 0) return [];
  const tokens = memoryTokens(caller, entry);
  const limit = tokens < caller.settings.injectTokens ? "an eighth of the context" : "recall.injectTokens";
  const named = keys.slice(0, maxNamedKeys).map((key) => `"${key}"`);
  const more = keys.length > named.length ? ` and ${keys.length - named.length} more` : "";
  return [`pinned memories were left out: ${named.join(", ")}${more}; ${tokens} tokens are for memories (${limit})`];
}

async function answerOnce(
  world: GenerationWorld,
  ask: Ask,
  memory: MemoryInjection | undefined,
  context: OperationContext,
): Promise<Omit<Answered, "memory">> {
  const { caller, request, entry, history } = ask;
  const own = await ownDefaults(world, entry.located, context.signal);
  const messages = messagesFor(caller, request, entry, own, { memory: memory?.text, history });
  // Before it queues: a prompt that doesn't fit must not wait for its turn.
  let prompt = await sizePrompt(entry, messages, request, context.signal);
  let waitedMs = 0;
  for (let isRetry = false; ; isRetry = true) {
    const budget = requestBudget(caller, request, entry, prompt, own);
    const slot = await makeReady(world, ask, budget, context);
    waitedMs += slot.waitedMs;
    try {
      const contextBudget = { ...budget, contextTokens: slot.resident?.contextTokens ?? budget.contextTokens };
      const { generation, notes } = await send(world, ask, messages, { ...contextBudget, own }, context);
      return {
        generation,
        notes: [...budget.notes, ...notes],
        queueMs: waitedMs + (generation.queueMs ?? 0),
        loadMs: slot.loadMs + generation.loadMs,
      };
    } catch (error) {
      // The engine counted: the context grows once, up to the model's window.
      if (!(error instanceof PromptTooLong) || isRetry) throw error;
      prompt = { promptTokens: error.promptTokens, isExact: true };
    } finally {
      slot.release();
    }
  }
}

/** A slot on the model. How long that stays is said with the answer: a load that keeps nothing would be none. */
function makeReady(
  { queues, isBackground = false }: GenerationWorld,
  { caller, entry }: Ask,
  { neededTokens, contextTokens }: TokenBudget,
  { signal, report }: OperationContext,
): Promise<RequestSlot> {
  const { located } = entry;
  const { maxWaitMs } = caller.settings;
  return queues.answer({
    located,
    caller: caller.id,
    isBackground,
    neededTokens,
    contextTokens,
    // What is in the background goes after everything else: nobody looks at a clock.
    ...(maxWaitMs === undefined || isBackground ? {} : { maxWaitMs }),
    signal,
    report,
  });
}

async function send(
  world: GenerationWorld,
  { caller, request, entry }: Ask,
  messages: readonly ChatMessage[],
  budget: { readonly contextTokens: number; readonly maxTokens: number; readonly own: OwnDefaults },
  context: OperationContext,
): ReturnType<typeof boundedAnswer> {
  const { engine, model } = entry.located;
  const { options } = overridesOf(caller.settings.models, model.name);
  const temperature =
    request.temperature ?? options?.temperature ?? settingOrOwn("temperature", caller.settings, budget.own);
  const topP = request.topP ?? options?.topP ?? caller.settings.topP;
  const keepAliveSeconds = world.loader.keepAlive.forAnswer(engine, model.name, request.keepAliveSeconds);
  const { sequences } = world.loader;
  const more = await sequences.grant(entry.located, budget.contextTokens);
  const engineRequest: GenerationRequest = {
    model: model.name,
    messages,
    ...(request.format === undefined ? {} : { format: request.format }),
    ...(request.think === undefined ? {} : { think: request.think }),
    maxTokens: budget.maxTokens,
    sampling: {
      ...(temperature === undefined ? {} : { temperature }),
      ...(topP === undefined ? {} : { topP }),
    },
    contextTokens: budget.contextTokens,
    ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }),
    ...(more === undefined ? {} : { sequences: more.sequences }),
  };
  if (entry.candidate.trust === "remote") world.noteRemote();
  const sign = world.liveness.begin(engine, model.name, countPromptTokens(messages));
  try {
    const sink = progressSink(model.name, context, sign);
    const answer = await boundedAnswer(engine, engineRequest, sink, context.signal, world.steady);
    world.loader.keepAlive.answered(engine, model.name, keepAliveSeconds);
    sequences.answered(entry.located, answer.generation);
    world.observations.generated(
      modelId(engine.id, model.name),
      answer.generation.completionTokens,
      answer.generation.decodeMs,
    );
    return answer;
  } catch (error) {
    sign.end(error);
    throw error;
  } finally {
    sign.end();
    more?.release();
    if (keepAliveSeconds === 0) world.inventory.forgetResidency(engine);
  }
}

function progressSink(model: string, context: OperationContext, sign: Sign): GenerationSink {
  let pieces = 0;
  let lastPhase: string | undefined;
  const count = () => {
    pieces += 1;
    sign.token();
    context.report({ message: `${model}: ${pieces} tokens`, completionTokens: pieces });
  };
  return {
    text(delta) {
      context.addText(delta);
      count();
    },
    thinking(delta) {
      context.addThinking(delta);
      count();
    },
    phase(phase) {
      // Said again: a part of the prompt was read.
      if (phase === lastPhase) return sign.progress();
      lastPhase = phase;
      const words = { loading: `loading ${model}`, prefill: `${model} reads the prompt`, decode: `${model} answers` };
      context.report({ message: words[phase] });
    },
  };
}
