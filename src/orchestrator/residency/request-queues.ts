import type { ModelOverrides } from "../api/types.ts";
import { overridesOf } from "../catalog/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, Report } from "../engines/engine.ts";
import type { Observations } from "../memory/measure/observations.ts";
import { type LocatedModel, modelId, takesNoMemory } from "../models/located-model.ts";
import type { Timers } from "../util/timers.ts";
import type { Decisions } from "./decisions.ts";
import type { QueueWorld, QueuedRequests, RequestSlot } from "./queue-requests.ts";
import type { LoaderQueueing, Requester, TakeTurn } from "./queueing.ts";
import { RequestQueue } from "./request-queue.ts";

export interface AnswerRequest extends Requester {
  readonly located: LocatedModel;
  /** A model that is loaded with at least this context is used as it is. */
  readonly neededTokens: number;
  /** Context to load it with if necessary. */
  readonly contextTokens: number;
  /** The request is refused if its answer can't begin within this time. */
  readonly maxWaitMs?: number;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** The queues of all memory domains. Models that use no memory here have slots, but are not loaded. */
export interface RequestQueues {
  /**
   * Waits until the model is in memory with enough context and has a free slot. Throws `QueueFull`, `Cancelled`, and
   * what its load throws.
   */
  answer(request: AnswerRequest): Promise<RequestSlot>;
  readonly load: TakeTurn;
  /** Something changed that requests may wait for. */
  wake(): void;
  /** Whether requests wait for the model. */
  isAwaited(id: string): boolean;
  /** Models with running or waiting requests. */
  snapshot(): readonly QueuedRequests[];
}

/** `models.<pattern>.maxParallel` if it is set and the engine supports more than one, else the default of the engine. */
export function maxParallelOf(models: Settings["models"], { engine, model }: LocatedModel): number {
  if (engine.parallelAnswers === undefined) return 1;
  const { maxParallel } = overridesOf(models as Readonly<Record<string, ModelOverrides>>, model.name);
  return maxParallel ?? engine.parallelAnswers;
}

/** Two decoders on the same cores are 50 times slower than one after the other. */
const embeddedSlots = 1;

/** Assumed duration of an answer before one was measured; long, so that no request is overtaken beyond the limit. */
export const assumedAnswerMs = 10_000;
/** Assumed speed of a load before one was measured; the same as in the eviction policy. */
export const assumedBytesPerMs = 1e6;

const elsewhere = "elsewhere";

export function createRequestQueues(parts: {
  readonly loader: () => LoaderQueueing;
  readonly observations: Pick<Observations, "of" | "answered">;
  readonly decisions: Pick<Decisions, "note">;
  /** Called on each use. */
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
    hasOwnThreads: ({ engine }) => engine.parallelAnswers !== undefined,
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

  /** For models that need no load. */
  const remote = {
    ...own,
    resident: ({ model }) => ({ name: model.name, sizeBytes: 0, vramBytes: 0 }),
    use: () => ({ release: () => undefined }),
    usesOf: () => 0,
  } satisfies QueueWorld;

  /**
   * A replaced engine has the same id as its successor, but other loaded models: its requests stay in a queue of their
   * own.
   */
  function queueOf(located: LocatedModel): RequestQueue {
    const { engine } = located;
    const domain = takesNoMemory(located) ? elsewhere : engine.memoryDomain;
    const isSame = (known: Engine | undefined) => known === undefined || known === engine;
    const found = domains.find((known) => known.domain === domain && isSame(known.engines.get(engine.id)));
    const entry = found ?? {
      domain,
      requests: new RequestQueue(domain === elsewhere ? remote : own),
      engines: new Map(),
    };
    entry.engines.set(engine.id, engine);
    if (found === undefined) domains = [...domains.filter(({ requests }) => requests.snapshot().length > 0), entry];
    return entry.requests;
  }

  const idOf = ({ engine, model }: LocatedModel) => modelId(engine.id, model.name);
  const priorityOf = ({ isBackground }: Requester) => (isBackground ? -1 : 0);

  return {
    answer: (request) =>
      queueOf(request.located).answer({ ...request, id: idOf(request.located), priority: priorityOf(request) }),
    load: (located, { contextTokens, keepAliveSeconds }, requester, report, signal) =>
      queueOf(located).load({
        id: idOf(located),
        located,
        caller: requester.caller,
        priority: priorityOf(requester),
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
