import type { Timers } from "../async/timers.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import type { Decisions } from "../decisions/decisions.ts";
import type { Engine, Report } from "../engines/engine.ts";
import { type LocatedModel, takesNoMemory } from "../inventory/located-model.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Asker, LoaderQueueing, TakeTurn } from "../loading/queueing.ts";
import type { Observations } from "../observations/observations.ts";
import type { ModelOverrides } from "../types.ts";
import { createRequestQueue, type RequestQueue } from "./request-queue.ts";
import type { QueueWorld, RequestSlot, QueuedRequests } from "./queue-world.ts";

export interface AnswerRequest extends Asker {
  readonly located: LocatedModel;
  /** A model that is loaded with this much context is used as it is. */
  readonly neededTokens: number;
  /** What it is loaded with if it must be loaded. */
  readonly contextTokens: number;
  /** The answer is to begin within so many milliseconds, or to be refused. */
  readonly maxWaitMs?: number;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** The queues of all memory domains. Models that take no memory here have slots, but nothing to load. */
export interface RequestQueues {
  /**
   * Waits until the model is in memory with enough context and has a free slot. Throws `QueueFull`, `Cancelled`, and
   * what its load throws.
   */
  answer(request: AnswerRequest): Promise<RequestSlot>;
  readonly load: TakeTurn;
  /** Something changed that somebody may wait for. */
  wake(): void;
  /** Whether somebody waits for the model. */
  isAwaited(id: string): boolean;
  /** Models with something running or waiting. */
  snapshot(): readonly QueuedRequests[];
}

/** Answers of one model at a time, by kind of engine: Ollama queues by itself, the embedded engine decodes one by one. */
const maxParallel = { ollama: 4, "llama-cpp": 1, openai: 8 } as const;

/** `models.<pattern>.maxParallel` where that is set, and the engine can do more than one. */
export function maxParallelOf(models: Settings["models"], { engine, model }: LocatedModel): number {
  if (engine.kind === "llama-cpp") return maxParallel[engine.kind];
  return (
    overridesOf(models as Readonly<Record<string, ModelOverrides>>, model.name).maxParallel ?? maxParallel[engine.kind]
  );
}

/** Two decoders on the same cores are fifty times slower than one after the other. */
const embeddedSlots = 1;

/** Of one answer, before any was seen; rather long, because nobody is to be overtaken for more than the bound. */
export const assumedAnswerMs = 10_000;
/** Of a load, before any was seen; as the eviction policy takes it. */
export const assumedBytesPerMs = 1e6;

const elsewhere = "elsewhere";

export function createRequestQueues(parts: {
  readonly loader: () => LoaderQueueing;
  readonly observations: Pick<Observations, "of" | "answered">;
  readonly decisions: Pick<Decisions, "note">;
  /** Asked anew each time. */
  readonly settings: () => Pick<Settings, "queue" | "models">;
  readonly timers: Timers;
}): RequestQueues {
  const { loader, observations, decisions, settings, timers } = parts;
  let domains: readonly {
    readonly domain: string;
    readonly requests: RequestQueue;
    readonly engines: Map<string, Engine>;
  }[] = [];
  const queues = () => domains.map(({ requests }) => requests);

  const own = {
    timers,
    maxWaiting: () => settings().queue.maxWaiting,
    maxOvertakeMs: () => settings().queue.maxOvertakeMs,
    embeddedSlots,
    maxParallel: (located) => maxParallelOf(settings().models, located),
    hasOwnThreads: ({ engine }) => engine.kind !== "llama-cpp",
    loadMs({ engine, model }) {
      const { loadSeconds } = observations.of(modelId(engine.id, model.name));
      return loadSeconds === undefined ? model.sizeBytes / assumedBytesPerMs : loadSeconds * 1_000;
    },
    answerMs: ({ engine, model }) => observations.of(modelId(engine.id, model.name)).answerMs ?? assumedAnswerMs,
    answered: (id, durationMs) => observations.answered(id, durationMs),
    waits({ engine, model }, why) {
      decisions.note({ kind: "wait", model: model.name, engine: engine.id, steps: [why] });
    },
    resident: (located) => loader().resident(located),
    use: (located, neededTokens) => loader().useResident(located, neededTokens),
    hold({ engine, model }, { plan: { contextTokens, estimate } }) {
      const { release } = loader().lease(modelId(engine.id, model.name));
      return {
        resident: { name: model.name, sizeBytes: estimate.predictedBytes, vramBytes: 0, contextTokens },
        release,
      };
    },
    load: (...asked) => loader().loadNow(...asked),
    wouldEvict: (located, contextTokens) => loader().wouldEvict(located, contextTokens),
    usesOf: (id) => loader().usesOf(id),
    isLoading: (id) => loader().isLoading(id),
    isEvicting: (id) => loader().isEvicting(id),
    lossSeconds: (located) => loader().lossSeconds(located),
  } satisfies QueueWorld;

  /** Always there, and nothing goes for it. */
  const remote = {
    ...own,
    resident: ({ model }) => Promise.resolve({ name: model.name, sizeBytes: 0, vramBytes: 0 }),
    use: () => Promise.resolve({ release: () => undefined }),
    usesOf: () => 0,
  } satisfies QueueWorld;

  /**
   * An engine that was replaced has the id of its successor, and other models in memory: those who wait for it stay in a
   * queue of their own.
   */
  function queueOf(located: LocatedModel): RequestQueue {
    const { engine } = located;
    const domain = takesNoMemory(located) ? elsewhere : engine.memoryDomain;
    const isSame = (known: Engine | undefined) => known === undefined || known === engine;
    const found = domains.find((known) => known.domain === domain && isSame(known.engines.get(engine.id)));
    const entry = found ?? {
      domain,
      requests: createRequestQueue(domain === elsewhere ? remote : own),
      engines: new Map(),
    };
    entry.engines.set(engine.id, engine);
    if (found === undefined) domains = [...domains.filter(({ requests }) => requests.snapshot().length > 0), entry];
    return entry.requests;
  }

  const idOf = ({ engine, model }: LocatedModel) => modelId(engine.id, model.name);
  const priorityOf = ({ isBackground }: Asker) => (isBackground ? -1 : 0);

  return {
    answer: (request) =>
      queueOf(request.located).answer({ ...request, id: idOf(request.located), priority: priorityOf(request) }),
    load: (located, { contextTokens, keepAliveSeconds }, asker, report, signal) =>
      queueOf(located).load({
        id: idOf(located),
        located,
        caller: asker.caller,
        priority: priorityOf(asker),
        neededTokens: contextTokens,
        contextTokens,
        ...(keepAliveSeconds === undefined ? {} : { keepAliveSeconds }),
        report,
        signal,
      }),
    wake() {
      for (const queue of queues()) queue.wake();
    },
    isAwaited: (id) => queues().some((queue) => queue.isAwaited(id)),
    snapshot: () => queues().flatMap((queue) => queue.snapshot()),
  };
}
