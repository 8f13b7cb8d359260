import { estimateTokens } from "../catalog/tokens.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import type { Generation, GenerationRequest, GenerationSink, ChatMessage } from "../engines/generation.ts";
import { PromptTooLong } from "../errors.ts";
import type { MemoryInjection } from "../facade-recall.ts";
import type { GenerateRequest } from "../facade.ts";
import { modelId } from "../inventory/model-id.ts";
import { takesNoMemory } from "../inventory/inventory.ts";
import type { Lease } from "../loading/loader.ts";
import type { OperationContext } from "../operations/operations.ts";
import type { ModelQueues } from "../queue/model-queues.ts";
import type { CallerContext } from "../types.ts";
import { requestBudget, type TokenBudget } from "./budget.ts";
import type { LocatedCandidate } from "./candidates.ts";
import type { Conversations } from "./conversations.ts";
import { buildMessages, countPromptTokens } from "./prompt.ts";
import type { Route, RouteSource } from "./route.ts";

export interface GenerationWorld extends RouteSource {
  readonly queues: ModelQueues;
  readonly conversations: Conversations;
  /** What is remembered and goes into this prompt. */
  readonly inject: (
    caller: CallerContext,
    prompt: string,
    maxTokens: number,
    countTokens: (text: string) => Promise<number>,
  ) => Promise<MemoryInjection | undefined>;
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
  readonly generation: Generation;
  readonly notes: readonly string[];
  readonly queueMs: number;
  readonly loadMs: number;
  readonly memory: MemoryInjection | undefined;
}

/** How many requests one model serves at a time: Ollama queues by itself, the embedded engine decodes one by one. */
const maxParallel = { ollama: 4, "llama-cpp": 1, openai: 8 } as const;

/** What is remembered takes at most this part of a window: in a small one the question matters more. */
const memoryShare = 1 / 8;

/** Has one model answer: waits for its turn, makes it ready, and sends. Throws whatever stood in the way. */
export async function attempt(world: GenerationWorld, ask: Ask, context: OperationContext): Promise<Answered> {
  const { engine, model } = ask.entry.located;
  const id = modelId(engine.id, model.name);
  if (world.queues.running(id) >= maxParallel[engine.kind]) {
    context.report({ message: `waiting for ${model.name}, which answers others first` });
  }
  const slot = await world.queues.acquire(id, maxParallel[engine.kind], context.signal);
  try {
    const memory = await remembered(world, ask, context.signal);
    for (let { history } = ask, notes = ask.route.notes; ;) {
      try {
        const answered = await answerOnce(world, { ...ask, history }, memory, context);
        return { ...answered, notes: [...notes, ...answered.notes], queueMs: slot.waitedMs + answered.queueMs, memory };
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
  } finally {
    slot.release();
  }
}

/** Never for an engine that is not local; nor when the request, or the setting, wants none. */
async function remembered(
  world: GenerationWorld,
  { caller, request, entry }: Ask,
  signal: AbortSignal,
): Promise<MemoryInjection | undefined> {
  const { engine, model } = entry.located;
  const { trust, contextTokens } = entry.candidate;
  const maxTokens = Math.min(caller.settings.injectTokens, Math.floor(contextTokens * memoryShare));
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

async function answerOnce(
  world: GenerationWorld,
  ask: Ask,
  memory: MemoryInjection | undefined,
  context: OperationContext,
): Promise<Omit<Answered, "memory">> {
  const { caller, request, entry } = ask;
  const { model } = entry.located;
  const overrides = overridesOf(caller.settings.models, model.name);
  const messages = buildMessages(request, {
    system: request.system ?? overrides.system,
    memory: memory?.text,
    history: ask.history,
  });
  let promptTokens = countPromptTokens(messages);
  for (let isRetry = false; ; isRetry = true) {
    const budget = requestBudget(caller, request, entry, { promptTokens, isExact: isRetry });
    const ready = await makeReady(world, entry, budget, context);
    try {
      const contextBudget = { ...budget, contextTokens: ready.contextTokens };
      const generation = await send(world, ask, messages, contextBudget, context);
      return {
        generation,
        notes: budget.notes,
        queueMs: generation.queueMs ?? 0,
        loadMs: ready.loadMs + generation.loadMs,
      };
    } catch (error) {
      // The engine counted more tokens than we estimated: the context grows once, up to the model's window.
      if (!(error instanceof PromptTooLong) || isRetry || error.promptTokens <= promptTokens) throw error;
      promptTokens = error.promptTokens;
    } finally {
      ready.lease.release();
    }
  }
}

async function makeReady(
  world: GenerationWorld,
  entry: LocatedCandidate,
  budget: TokenBudget,
  context: OperationContext,
): Promise<{ lease: Lease; contextTokens: number; loadMs: number }> {
  const { located } = entry;
  if (takesNoMemory(located)) {
    return { lease: { release: () => undefined }, contextTokens: budget.contextTokens, loadMs: 0 };
  }
  const ready = await world.loader.useResident(located, budget.neededTokens);
  if (ready !== undefined) {
    return { lease: ready, contextTokens: ready.resident.contextTokens ?? budget.contextTokens, loadMs: 0 };
  }
  const { contextTokens } = budget;
  // How long it stays is said with the answer: a load that keeps nothing would be none.
  const load = world.loader.load(located, { contextTokens }, false);
  const { loadMs } = await load.follow(context.signal, context.report);
  return { lease: world.loader.lease(modelId(located.engine.id, located.model.name)), contextTokens, loadMs };
}

async function send(
  world: GenerationWorld,
  { caller, request, entry }: Ask,
  messages: readonly ChatMessage[],
  budget: { readonly contextTokens: number; readonly maxTokens: number },
  context: OperationContext,
): Promise<Generation> {
  const { engine, model } = entry.located;
  const { options } = overridesOf(caller.settings.models, model.name);
  const temperature = request.temperature ?? options?.temperature ?? caller.settings.temperature;
  const topP = request.topP ?? options?.topP ?? caller.settings.topP;
  const keepAliveSeconds = world.loader.secondsOfAnswer(model.name, request.keepAliveSeconds);
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
  };
  if (entry.candidate.trust === "remote") world.noteRemote();
  try {
    const generation = await engine.generate(engineRequest, progressSink(model.name, context), context.signal);
    world.observations.generated(modelId(engine.id, model.name), generation.completionTokens, generation.decodeMs);
    return generation;
  } finally {
    if (keepAliveSeconds === 0) world.inventory.forgetResidency(engine);
  }
}

function progressSink(model: string, context: OperationContext): GenerationSink {
  let pieces = 0;
  const count = () => {
    pieces += 1;
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
      const words = { loading: `loading ${model}`, prefill: `${model} reads the prompt`, decode: `${model} answers` };
      context.report({ message: words[phase] });
    },
  };
}
