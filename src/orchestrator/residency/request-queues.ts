import type { Operation } from "../api/types.ts";
import { overridesOf } from "../routing/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import { UnknownModel } from "../api/errors.ts";
import type { LoadResult } from "../api/facade.ts";
import type { Engine, LoadOptions, Report } from "../engines/engine.ts";
import type { Operations } from "../jobs/operations.ts";
import type { Observations } from "./observations.ts";
import type { Inventory } from "../catalog/inventory.ts";
import { type LocatedModel, modelId, takesNoMemory, idOf } from "../catalog/located-model.ts";
import type { Timers } from "../util/timers.ts";
import { type Emit, noteDecision } from "../api/events.ts";
import type { EvictionPolicies } from "./eviction-policies.ts";
import type { Loader } from "./loader.ts";
import type { LoadRequest } from "./room.ts";
import { type MoreSequences, maxSequences } from "./more-sequences.ts";
import type { Plans } from "./plans.ts";
import {
  backgroundPriority,
  type Permit,
  type QueueRequest,
  type QueueWorld,
  type QueuedRequests,
} from "./queue-requests.ts";
import { RequestQueue } from "./request-queue.ts";
import type { Slots } from "./slots.ts";
import { defined } from "../util/values.ts";

/** The caller of a request, for the order of the queue. */
interface Requester {
  /** `id` of the caller's context; callers take turns. */
  readonly caller: string;
  /** Its client; absent: this program. */
  readonly client?: string;
  /** Served after all other requests: preloads, comparisons. */
  readonly isBackground: boolean;
}

/**
 * `models.<pattern>.maxParallel` if it is set and the engine supports more than one, else the default of the engine, or what it
 * measured.
 */
export function maxParallelOf(
  models: Parameters<typeof overridesOf>[0],
  { engine, model }: LocatedModel,
  usual?: number,
): number {
  if (engine.parallelAnswers === undefined && engine.answersAtOnce === undefined) return 1;
  const { maxParallel } = overridesOf(models, model.name);
  if (engine.cachesOf !== undefined && maxParallel !== undefined) return Math.min(maxParallel, maxSequences);
  return maxParallel ?? usual ?? engine.parallelAnswers ?? engine.answersAtOnce?.(model.name) ?? 1;
}

/** Two decoders on the same cores are 50 times slower than one after the other; answers of one model share a decoder. */
const embeddedSlots = 1;

/** Assumed duration of an answer before one was measured; long, so that no request is overtaken beyond the limit. */
export const assumedAnswerMs = 10_000;
/** Assumed speed of a load before one was measured; the same as in the eviction policy. */
export const assumedBytesPerMs = 1e6;

const elsewhereDomain = "elsewhere";

interface RequestQueuesParts {
  readonly loader: Loader;
  readonly plans: Plans;
  readonly policies: EvictionPolicies;
  readonly slots: Slots;
  readonly observations: Pick<Observations, "of" | "answered">;
  readonly emit: Emit;
  readonly sequences: Pick<MoreSequences, "hasRoomBeside">;
  /** Called on each use. */
  readonly settings: () => Pick<Settings, "queue" | "models">;
  readonly timers: Timers;
  /** Aborted at shutdown. */
  readonly signal: AbortSignal;
}

/** The queues of all memory domains. Models that use no memory here have slots, but are not loaded. */
export type RequestQueues = ReturnType<typeof createRequestQueues>;

export function createRequestQueues(parts: RequestQueuesParts) {
  const { slots } = parts;
  const world = worldOf(parts);
  let domains: readonly {
    readonly domain: string;
    readonly requests: RequestQueue;
    readonly engines: Map<string, Engine>;
  }[] = [];
  /** The queues of `domains`, but for models elsewhere. */
  let byEngine = new WeakMap<Engine, RequestQueue>();
  slots.on("changed", () => {
    for (const { requests } of domains) requests.wake();
  });

  /**
   * A replaced engine has the same id as its successor, but other loaded models: its requests stay in a queue of their
   * own.
   */
  function queueOf(located: LocatedModel): RequestQueue {
    const { engine } = located;
    const isElsewhere = takesNoMemory(located);
    const known = isElsewhere ? undefined : byEngine.get(engine);
    if (known !== undefined) return known;
    const domain = isElsewhere ? elsewhereDomain : engine.memoryDomain;
    const isSame = (other: Engine | undefined) => other === undefined || other === engine;
    const found = domains.find((each) => each.domain === domain && isSame(each.engines.get(engine.id)));
    const requests = found?.requests ?? new RequestQueue(isElsewhere ? { ...world, ...unloaded } : world);
    const entry = found ?? { domain, requests, engines: new Map<string, Engine>() };
    entry.engines.set(engine.id, engine);
    if (found === undefined) {
      domains = [...domains.filter((each) => each.requests.snapshot().length > 0), entry];
      byEngine = new WeakMap();
    }
    if (!isElsewhere) byEngine.set(engine, requests);
    return requests;
  }

  /** Counts the request in its slot while it waits. */
  async function waitingIn<Result>(located: LocatedModel, wait: Promise<Result>): Promise<Result> {
    return await wait.finally(slots.at(located).await(located.model.name));
  }

  return {
    /**
     * A permit, at once if the model is in memory with enough context and has a free slot; else waits for that. Throws
     * `QueueFull`, `Cancelled`, and what its load throws.
     */
    async ensureReady(request: QueueRequest): Promise<Permit> {
      const queue = queueOf(request.located);
      return queue.grantFree(request) ?? waitingIn(request.located, queue.grant(request));
    },
    /** Loads when it is the requester's turn; for a loaded model only restarts its keep-alive. */
    load({ located, options: { contextTokens, keepAliveSeconds }, report, signal }: LoadRequest, requester: Requester) {
      const queued = {
        id: idOf(located),
        located,
        caller: requester.caller,
        priority: requester.isBackground ? backgroundPriority : 0,
        neededTokens: contextTokens,
        contextTokens,
        ...defined({ keepAliveSeconds }),
        report,
        signal,
      };
      return waitingIn(located, queueOf(located).load(queued));
    },
    /** Models with running or waiting requests. */
    snapshot: (): readonly QueuedRequests[] => domains.flatMap(({ requests }) => requests.snapshot()),
  };
}

/** The longest time that an earlier request is passed over for later ones whose model is loaded. */
const maxOvertakeMs = 30_000;

function worldOf(parts: RequestQueuesParts): QueueWorld {
  const { loader, plans, slots, observations, emit, settings } = parts;
  return {
    timers: parts.timers,
    maxWaiting: () => settings().queue.maxWaiting,
    maxOvertakeMs,
    embeddedSlots,
    maxParallel: (located) => maxParallelOf(settings().models, located),
    hasOwnThreads: ({ engine }) => engine.parallelAnswers !== undefined,
    loadMs(located) {
      const { loadSeconds } = observations.of(idOf(located));
      return loadSeconds === undefined ? located.model.sizeBytes / assumedBytesPerMs : loadSeconds * 1_000;
    },
    answerMs: (located) => observations.of(idOf(located)).answerMs ?? assumedAnswerMs,
    answered: observations.answered,
    waits({ engine, model }, why) {
      noteDecision(emit, { kind: "wait", model: model.name, engine: engine.id, steps: [why] });
    },
    resident: plans.resident.bind(plans),
    use: loader.use.bind(loader),
    hold(located, { plan: { contextTokens, estimate } }) {
      const { name } = located.model;
      const slot = slots.at(located);
      // A load may still send a changed keep-alive after the model is ready, during which it can be unloaded.
      if (slot.isEvicting || slot.isLoading) return undefined;
      const { release } = slot.take(name);
      return { resident: { name, sizeBytes: estimate.predictedBytes, vramBytes: 0, contextTokens }, release };
    },
    load: loader.load.bind(loader),
    ahead: (located, contextTokens) => plans.ahead(located, contextTokens, parts.signal),
    usesOf(id) {
      const slot = slots.find(id);
      return slot === undefined ? 0 : Math.max(slot.leases, Number(slot.isBusy));
    },
    isLoading: (id) => slots.find(id)?.isLoading === true,
    isEvicting: (id) => slots.find(id)?.isEvicting === true,
    hasRoomBeside: parts.sequences.hasRoomBeside,
    lossSeconds: (located) => parts.policies.losses(located.engine)(idOf(located)),
  };
}

/** For models that need no load. */
const unloaded: Pick<QueueWorld, "resident" | "use" | "usesOf"> = {
  resident: ({ model }) => ({ name: model.name, sizeBytes: 0, vramBytes: 0 }),
  use: () => ({ release: () => undefined }),
  usesOf: () => 0,
};

/** Loads as operations, which callers join; each waits for its turn in the queue. */
export function createLoadOperations(parts: {
  readonly inventory: Inventory;
  readonly operations: Operations;
  readonly queues: Pick<RequestQueues, "load">;
}) {
  const { inventory, operations, queues } = parts;
  /**
   * Loads the model unless it is loaded with that context; loads of one model are joined. Installs a missing engine
   * first if `mayInstall` (not for a generation: a prompt must not start a 48 MB download). Without `keepAliveSeconds`
   * a loaded model keeps its keep-alive, and another one gets the configured one; a pinned model stays loaded in any
   * case. Waits for its turn; without a `requester`, ahead of background requests. If an engine lists the model but
   * reports it as unknown (its manifest is damaged), the next of `elsewhere` is tried.
   */
  function start(
    located: LocatedModel,
    options: LoadOptions,
    mayInstall: boolean,
    requester: Requester = { caller: "", isBackground: false },
    elsewhere: readonly LocatedModel[] = [],
  ): Operation<LoadResult> {
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    return operations.start<LoadResult>(
      {
        kind: "load",
        title: `load ${model.name}`,
        key: `load ${id} ${options.contextTokens} ${mayInstall}`,
        ...defined({ client: requester.client }),
      },
      async ({ signal, report: reportOf }) => {
        const report: Report = (progress) => reportOf({ ...progress, model: model.name });
        const models = [located, ...elsewhere];
        let first: UnknownModel | undefined;
        for (const [index, target] of models.entries()) {
          try {
            const { installation } = target.engine;
            if (mayInstall && installation !== undefined && !(await installation.isInstalled())) {
              await installation.install(report, signal);
            }
            return await queues.load({ located: target, options, report, signal }, requester);
          } catch (error) {
            if (!(error instanceof UnknownModel)) throw error;
            first ??= error;
            const other = models[index + 1];
            if (other === undefined) continue;
            inventory.forget(target.engine);
            report({ message: `${error.message}; trying ${other.engine.id}` });
          }
        }
        throw first ?? new UnknownModel("no engine holds the model");
      },
    );
  }

  return { start };
}
