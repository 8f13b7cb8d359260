import type { Generation, GenerationRequest, GenerationSink } from "../engines/generation.ts";
import {
  Cancelled,
  EngineNotInstalled,
  EngineUnreachable,
  GenerationFailed,
  LoadFailed,
  ModelDoesNotFit,
  OrchestratorError,
  PromptTooLong,
  QueueFull,
  UnknownModel,
  UnsupportedCapability,
} from "../errors.ts";
import { takesNoMemory } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Lease } from "../loading/loader.ts";
import type { OperationContext } from "../operations/operations.ts";
import type { ModelQueues } from "../queue/model-queues.ts";
import type { GenerateRequest, GenerateResult } from "../facade.ts";
import type { CallerContext } from "../types.ts";
import { requestBudget, type TokenBudget } from "./budget.ts";
import type { LocatedCandidate } from "./candidates.ts";
import { buildMessages } from "./prompt.ts";
import { chooseRoute, type Route, type RouteSource } from "./route.ts";

export interface GenerationWorld extends RouteSource {
  readonly queues: ModelQueues;
  /** Counts what is sent to engines whose trust is not local. */
  readonly noteRemote: () => void;
}

type Attempt = GenerateResult["route"]["attempts"][number];

/** How many requests one model serves at a time: Ollama queues by itself, the embedded engine decodes one by one. */
const maxParallel = { ollama: 4, "llama-cpp": 1, openai: 8 } as const;

/**
 * Walks the route's chain until a model answers. The work of a `generate` operation. An engine that doesn't answer is
 * not asked again with its other models: the route is chosen anew without it, so that engines that hold the same
 * models take over.
 */
export async function runGeneration(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  context: OperationContext,
): Promise<GenerateResult> {
  const startedAtMs = world.now();
  const attempts: Attempt[] = [];
  const failures: OrchestratorError[] = [];
  const down = new Set<string>();
  let route = await chooseRoute(world, caller, request, context.signal);
  let waiting = [...route.chain];
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { entry, reason } = next;
    const { engine, model } = entry.located;
    context.clearText();
    try {
      const answered = await attempt(world, caller, request, route, entry, context);
      attempts.push({ model: model.name, engine: engine.id, outcome: "answered" });
      return toResult(world, {
        request,
        route,
        entry,
        reason: withHistory(reason, attempts),
        attempts,
        answered,
        startedAtMs,
      });
    } catch (error) {
      if (!(error instanceof OrchestratorError) || !isWorthAnotherModel(error)) throw error;
      attempts.push({ model: model.name, engine: engine.id, outcome: error.message });
      failures.push(error);
      world.log.info(`${model.name} on ${engine.id} failed: ${error.message}`);
      if (error instanceof UnknownModel || error instanceof EngineUnreachable) world.inventory.forget(engine);
      // A child that crashed, a server that was restarted: what was loaded may not be any more.
      else world.inventory.forgetResidency(engine);
      if (isHeldAgainstModel(error)) {
        world.observations.failed(modelId(engine.id, model.name), error.message, error instanceof LoadFailed);
      }
      if (error instanceof EngineUnreachable) {
        down.add(engine.id);
        const other = await chooseRoute(world, caller, request, context.signal, down).catch(unlessRefused);
        const isUntried = ({ located }: LocatedCandidate) =>
          !attempts.some((tried) => tried.engine === located.engine.id && tried.model === located.model.name);
        waiting = (other?.chain ?? []).filter((step) => isUntried(step.entry));
        route = other ?? route;
      }
      if (waiting.length > 0)
        context.report({ message: `${model.name} failed (${error.message}); trying the next model` });
    }
  }
  throw summary(attempts, failures);
}

/** Nothing is left to try: the failure that led here says more. */
function unlessRefused(error: unknown): undefined {
  if (error instanceof OrchestratorError && !(error instanceof Cancelled)) return undefined;
  throw error;
}

interface Answered {
  readonly generation: Generation;
  readonly notes: readonly string[];
  readonly queueMs: number;
  readonly loadMs: number;
}

async function attempt(
  world: GenerationWorld,
  caller: CallerContext,
  request: GenerateRequest,
  route: Route,
  entry: LocatedCandidate,
  context: OperationContext,
): Promise<Answered> {
  const { engine, model } = entry.located;
  const id = modelId(engine.id, model.name);
  if (world.queues.running(id) >= maxParallel[engine.kind]) {
    context.report({ message: `waiting for ${model.name}, which answers others first` });
  }
  const slot = await world.queues.acquire(id, maxParallel[engine.kind], context.signal);
  try {
    let promptTokens = route.promptTokens;
    for (let isRetry = false; ; isRetry = true) {
      const budget = requestBudget(caller, request, entry, { promptTokens, isExact: isRetry });
      const ready = await makeReady(world, entry, budget, context);
      try {
        const generation = await send(
          world,
          caller,
          request,
          entry,
          { ...budget, contextTokens: ready.contextTokens },
          context,
        );
        return {
          generation,
          notes: [...route.notes, ...budget.notes],
          queueMs: slot.waitedMs + (generation.queueMs ?? 0),
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
  } finally {
    slot.release();
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
  caller: CallerContext,
  request: GenerateRequest,
  entry: LocatedCandidate,
  budget: { readonly contextTokens: number; readonly maxTokens: number },
  context: OperationContext,
): Promise<Generation> {
  const { engine, model } = entry.located;
  const temperature = request.temperature ?? caller.settings.temperature;
  const topP = request.topP ?? caller.settings.topP;
  const engineRequest: GenerationRequest = {
    model: model.name,
    messages: buildMessages(request),
    ...(request.format === undefined ? {} : { format: request.format }),
    ...(request.think === undefined ? {} : { think: request.think }),
    maxTokens: budget.maxTokens,
    sampling: {
      ...(temperature === undefined ? {} : { temperature }),
      ...(topP === undefined ? {} : { topP }),
    },
    contextTokens: budget.contextTokens,
    ...(request.keepAliveSeconds === undefined ? {} : { keepAliveSeconds: request.keepAliveSeconds }),
  };
  if (entry.candidate.trust === "remote") world.noteRemote();
  try {
    const generation = await engine.generate(engineRequest, progressSink(model.name, context), context.signal);
    world.observations.generated(modelId(engine.id, model.name), generation.completionTokens, generation.decodeMs);
    return generation;
  } finally {
    if (request.keepAliveSeconds === 0) world.inventory.forgetResidency(engine);
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

/** Failures of this model or engine that say nothing about the others; everything else is the request's own. */
function isWorthAnotherModel(error: OrchestratorError): boolean {
  return [
    EngineUnreachable,
    EngineNotInstalled,
    LoadFailed,
    GenerationFailed,
    ModelDoesNotFit,
    QueueFull,
    UnknownModel,
    UnsupportedCapability,
    PromptTooLong,
  ].some((kind) => error instanceof kind);
}

/** The model may well serve another request after the rest: a long prompt, a full queue, a name that is gone. */
function isHeldAgainstModel(error: OrchestratorError): boolean {
  return [EngineUnreachable, EngineNotInstalled, LoadFailed, GenerationFailed].some((kind) => error instanceof kind);
}

function withHistory(reason: string, attempts: readonly Attempt[]): string {
  const failed = attempts.slice(0, -1).map((entry) => entry.model);
  return failed.length === 0 ? reason : `${reason}; after ${failed.join(", ")} failed`;
}

function summary(attempts: readonly Attempt[], failures: readonly OrchestratorError[]): Error {
  const last = failures.at(-1);
  if (last === undefined) return new Cancelled("nothing was tried");
  if (failures.length === 1) return last;
  const told = attempts.map((entry) => `${entry.model} (${entry.engine}): ${entry.outcome}`).join("; ");
  return new GenerationFailed(`${failures.length} models were tried and failed: ${told}`, {
    ...(last.hint === undefined ? {} : { hint: last.hint }),
    cause: last,
  });
}

function toResult(
  world: GenerationWorld,
  parts: {
    readonly request: GenerateRequest;
    readonly route: Route;
    readonly entry: LocatedCandidate;
    readonly reason: string;
    readonly attempts: readonly Attempt[];
    readonly answered: Answered;
    readonly startedAtMs: number;
  },
): GenerateResult {
  const { route, entry, answered } = parts;
  const { generation } = answered;
  const { completionTokens, decodeMs } = generation;
  // The first token's time belongs to the prompt: after it alone a speed would be thousands of tokens.
  const tokensPerSecond = completionTokens > 1 && decodeMs > 0 ? (completionTokens * 1000) / decodeMs : 0;
  return {
    text: generation.text,
    ...(generation.thinking === undefined ? {} : { thinking: generation.thinking }),
    model: entry.located.model.name,
    engine: entry.located.engine.id,
    finishReason: generation.finishReason,
    reason: parts.reason,
    promptTokens: generation.promptTokens,
    ...(generation.cachedPromptTokens === undefined ? {} : { cachedPromptTokens: generation.cachedPromptTokens }),
    completionTokens: generation.completionTokens,
    tokensPerSecond,
    totalMs: world.now() - parts.startedAtMs,
    timing: { queueMs: answered.queueMs, loadMs: answered.loadMs, firstTokenMs: generation.firstTokenMs },
    route: {
      task: route.task,
      because: route.because,
      profile: route.profile,
      considered: route.considered,
      attempts: parts.attempts,
    },
    notes: answered.notes,
  };
}
