import { setImmediate as nextTurn } from "node:timers/promises";
import { EngineUnreachable, LoadFailed, throwIfCancelled } from "../api/errors.ts";
import type { Change, LoadResult } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { LoadPlan, Operation } from "../api/types.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, LoadOptions, Report } from "../engines/engine.ts";
import type { Operations } from "../jobs/operations.ts";
import { type Estimates, createEstimates } from "../memory/measure/estimates.ts";
import type { KeptLearning } from "../memory/measure/kept-learning.ts";
import type { Observations } from "../memory/measure/observations.ts";
import type { MemoryProbe } from "../memory/measure/probe.ts";
import type { MemoryState } from "../memory/plan.ts";
import { type MemoryDomain, createMemoryDomain } from "../memory/state.ts";
import type { Inventory } from "../models/inventory.ts";
import { type LocatedModel, modelId } from "../models/located-model.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { type Mutex, createMutex } from "../util/mutex.ts";
import type { Decisions } from "./decisions.ts";
import { createEvictionPolicies } from "./eviction-policies.ts";
import { createFreeAfterLoad } from "./free-after-load.ts";
import { type KeepAliveUpdates, createKeepAliveUpdates } from "./keep-alive-updates.ts";
import { type KeepAlive, createKeepAlive } from "./keep-alive.ts";
import { lastUseMs } from "./last-use.ts";
import { type Lease, createLeases } from "./leases.ts";
import { createLoadRetry } from "./load-retry.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import { type MoreSequences, createMoreSequences } from "./more-sequences.ts";
import { createOccupancy } from "./occupancy.ts";
import { type OwnedModels, createOwnedModels } from "./owned-models.ts";
import type { Pins } from "./pins.ts";
import { createPlans } from "./plans.ts";
import type { LoaderQueueing, Requester, TakeTurn } from "./queueing.ts";
import { createRoomMaker } from "./room.ts";
import { tryEngines } from "./try-engines.ts";
import { createUnconfirmedUnloads } from "./unconfirmed-unloads.ts";

export type { Lease } from "./leases.ts";

export interface Loader extends LoaderQueueing {
  /** Dry run of a load. A model that is loaded with at least `sufficientTokens` counts as loaded. */
  plan(located: LocatedModel, contextTokens: number, signal: AbortSignal, sufficientTokens?: number): Promise<LoadPlan>;
  /**
   * Loads the model unless it is loaded with that context; loads of one model are joined. Installs a missing engine
   * first if `mayInstall` (not for a generation: a prompt must not start a 48 MB download). Without `keepAliveSeconds`
   * a loaded model keeps its keep-alive, and another one gets the configured one; a pinned model stays loaded in any
   * case. Waits for its turn; without a `requester`, ahead of background requests. If an engine lists the model but
   * reports it as unknown (its manifest is damaged), the next of `elsewhere` is tried.
   */
  load(
    located: LocatedModel,
    options: LoadOptions,
    mayInstall: boolean,
    requester?: Requester,
    elsewhere?: readonly LocatedModel[],
  ): Operation<LoadResult>;
  /**
   * Unloads and unpins the model. Returns what was freed; undefined if the model is in use, which leaves it loaded and
   * pinned. If it is loaded by another name (`Inventory.residentOf`), that one is unloaded too, unless
   * `keepsOtherNames`.
   */
  unload(located: LocatedModel, signal: AbortSignal, keepsOtherNames?: boolean): Promise<Unloaded | undefined>;
  unloadOwned: KeepAliveUpdates["unloadOwned"];
  setPinned: KeepAliveUpdates["setPinned"];
  pinnedCount: KeepAliveUpdates["pinnedCount"];
  refreshKeepAlive: KeepAliveUpdates["refresh"];
  /** Whether the model stays in memory once it is loaded. */
  isPinned(name: string): boolean;
  /** The keep-alive sent to engines with answers. */
  readonly keepAlive: Pick<KeepAlive, "forAnswer" | "answered">;
  isBusy(id: string): boolean;
  readonly sequences: MoreSequences;
  /** For background maintenance. */
  readonly maintenance: LoaderMaintenance;
  estimate: Estimates["of"];
  quickEstimate: Estimates["quick"];
  /** The memory that `engine` loads into, including loads in progress; undefined if it can't be measured. */
  state(engine: Engine): Promise<MemoryState | undefined>;
  /** The name may refer to other weights now: it was pulled, imported or deleted. */
  forget(id: string): void;
}

/** `name`: as its engine lists it. 0 bytes: nothing was loaded. */
export interface Unloaded {
  readonly bytes: number;
  readonly name: string;
}

export interface LoaderMaintenance {
  readonly owned: OwnedModels;
  /** Renews the keep-alive of a loaded model, which doesn't count as a use. */
  touch(engine: Engine, name: string, signal: AbortSignal): Promise<void>;
  /** Whether the model, or another name served by its process, is pinned. */
  isRunnerPinned(engine: Engine, name: string): boolean;
  /** Unloads a model that its engine holds beyond its keep-alive, unless it is in use. */
  expire(engine: Engine, name: string, signal: AbortSignal): Promise<void>;
  /** A lease that doesn't count as a use. */
  hold(id: string): Lease;
}

/** Executes loads and unloads; the plans are pure (`memory/plan.ts`). */
export function createLoader(parts: {
  readonly inventory: Inventory;
  readonly operations: Operations;
  readonly observations: Observations;
  readonly probe: MemoryProbe;
  /** Called on each use. */
  readonly settings: () => Settings;
  readonly pins: Pins;
  /** Engines that were replaced and still have active requests. */
  readonly leaving: () => readonly Engine[];
  readonly decisions: Decisions;
  /** Absent: what is learned is lost when this process ends. */
  readonly kept?: KeptLearning;
  /** Whether requests wait for the model of this id. */
  readonly isAwaited: (id: string) => boolean;
  /** Calls `loadNow` when it is the requester's turn. */
  readonly enqueue: TakeTurn;
  /** A lease was released, a load began or ended, or a model was evicted. */
  readonly changed: () => void;
  readonly now: () => number;
  /** Milliseconds of a monotonic clock, for durations. */
  readonly steady: () => number;
  /** Aborted at shutdown. */
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly publish: (change: Change) => void;
  /** The set of models that this program loaded changed, or their keep-alives did. */
  readonly ownedModelsChanged: () => void;
}): Loader {
  const { inventory, operations, observations, settings, pins, decisions, now, steady, log, publish } = parts;
  const domains = new Map<string, MemoryDomain>();
  const locks = new Map<string, Mutex>();
  const { runners } = inventory;
  const leases = createLeases((id) => observations.used(id), parts.changed, runners.slotOf);
  const estimates = createEstimates({ settings, inventory, now, ...(parts.kept && { kept: parts.kept }) });
  const loadingChanged = (): void => {
    publish({ kind: "models", isListChanged: false });
    parts.changed();
  };
  const occupancy = createOccupancy(leases, loadingChanged, runners.slotOf);
  const isRunnerPinned = (engine: Engine, name: string) => runners.namesOf(engine, name).some(pins.isPinned);
  const owned = createOwnedModels({
    now,
    lastUsedMs: (engine, name) => lastUseMs(observations, runners, engine, name),
    changed: () => parts.ownedModelsChanged(),
  });
  const unconfirmed = createUnconfirmedUnloads(steady);
  const policies = createEvictionPolicies({ observations, isPinned: pins.isPinned });
  const keepAlive = createKeepAlive({
    pins,
    runners,
    owned,
    decisions,
    lossSeconds: (engine, name) => policies.losses(engine)(modelId(engine.id, name)),
  });

  const domainOf = (id: string): MemoryDomain => getOrCreate(domains, id, () => createMemoryDomain(id));
  const inTurn = <Result>(domain: string, work: () => Promise<Result>): Promise<Result> =>
    getOrCreate(locks, domain, createMutex)(work);
  const source: MemoryStateSource = {
    inventory,
    probe: parts.probe,
    observations,
    memory: () => settings().memory,
    domains: domainOf,
    leaving: parts.leaving,
    isBusy: occupancy.isBusy,
    isPinned: pins.isPinned,
    isAwaited: parts.isAwaited,
    losses: policies.losses,
    observed: (engine, resident) =>
      owned.observe(engine, resident, (name) => occupancy.isBusy(modelId(engine.id, name))),
    isForeign: owned.isForeign,
    hasUnconfirmedUnload: unconfirmed.has,
    freeAfterLoad: createFreeAfterLoad(),
  };

  const plans = createPlans({ source, estimate: estimates.of, policies, now });

  async function useResident(located: LocatedModel, contextTokens: number | undefined) {
    const id = modelId(located.engine.id, located.model.name);
    const resident = await plans.resident(located);
    // No await between these checks and the lease: nothing can evict it in between.
    if (resident === undefined || occupancy.isEvicting(id) || occupancy.isLoading(id)) return undefined;
    if (resident.contextTokens !== undefined && contextTokens !== undefined && resident.contextTokens < contextTokens)
      return undefined;
    policies.served(located.engine, resident);
    return { resident, ...leases.take(id) };
  }

  function load(
    located: LocatedModel,
    options: LoadOptions,
    mayInstall: boolean,
    requester: Requester = { caller: "", isBackground: false },
    elsewhere: readonly LocatedModel[] = [],
  ): Operation<LoadResult> {
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    return operations.start<LoadResult>(
      { kind: "load", title: `load ${model.name}`, key: `load ${id} ${options.contextTokens} ${mayInstall}` },
      async ({ signal, report }) => {
        const loadAt = async (target: LocatedModel): Promise<LoadResult> => {
          const { installation } = target.engine;
          if (mayInstall && installation !== undefined && !(await installation.isInstalled())) {
            await installation.install(report, signal);
          }
          return parts.enqueue(target, options, requester, report, signal);
        };
        return tryEngines([located, ...elsewhere], loadAt, (target, error, next) => {
          inventory.forget(target.engine);
          report({ message: `${error.message}; trying ${next.engine.id}` });
        });
      },
    );
  }

  async function loadNow(
    located: LocatedModel,
    options: LoadOptions,
    report: Report,
    signal: AbortSignal,
  ): Promise<LoadResult> {
    const { engine, model } = located;
    const { residency } = engine;
    const id = modelId(engine.id, model.name);
    const base = { model: model.name, engine: engine.id };
    const { plan: made, release } = await rooms.makeRoom(located, options.contextTokens, report, signal);
    if (made.isLoaded) {
      // Cheap; restarts the keep-alive.
      const { contextTokens } = made;
      const requestedSeconds = options.keepAliveSeconds;
      const sentSeconds =
        requestedSeconds === undefined ? undefined : keepAlive.forLoad(engine, model.name, requestedSeconds);
      const again = { ...options, contextTokens, ...keepAliveOption(sentSeconds) };
      await residency?.load(model.name, again, report, signal).finally(release);
      if (sentSeconds !== undefined) keepAlive.renewed(engine, model.name, requestedSeconds, sentSeconds);
      return { ...base, loadMs: 0, wasLoaded: true, plan: made };
    }
    let startedAtMs = steady();
    pins.wasLoaded(model.name);
    const requestedSeconds = options.keepAliveSeconds;
    const sentSeconds = keepAlive.forLoad(engine, model.name, requestedSeconds);
    try {
      report({ message: `loading ${model.name} (${formatBytes(made.estimate.predictedBytes)})` });
      const attempt = async () => {
        startedAtMs = steady();
        await residency?.load(model.name, { ...options, ...keepAliveOption(sentSeconds) }, report, signal);
      };
      await loadWithRetry(located, made, attempt, report, signal);
    } catch (error) {
      if (error instanceof LoadFailed) observations.failed(id, error.message, true);
      if (error instanceof LoadFailed || error instanceof EngineUnreachable) {
        decisions.note({ kind: "fail", ...base, steps: [error.message], plan: made });
      }
      throw error;
    } finally {
      inventory.forgetResidency(engine);
      // The free memory of graphics cards is measured again only on request.
      void parts.probe.sample(0);
      release();
    }
    const loadMs = steady() - startedAtMs;
    unconfirmed.forget(id);
    const own = { name: model.name, digest: model.digest, requestedSeconds, sentSeconds };
    owned.note(engine, own);
    observations.loaded(id, loadMs);
    policies.served(engine, { name: model.name, sizeBytes: made.estimate.predictedBytes });
    // Pinned or unpinned while it was loading.
    if (keepAlive.isStale(own)) await keepAliveUpdates.apply(engine, model.name, signal);
    return { ...base, loadMs, wasLoaded: false, plan: made };
  }

  function unload(located: LocatedModel, signal: AbortSignal, keepsOtherNames = false): Promise<Unloaded | undefined> {
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    return inTurn(engine.memoryDomain, async () => {
      throwIfCancelled(signal, `unloading ${model.name}`);
      // Callers that loaded it in this turn of the event loop take their leases now.
      if (occupancy.isSettling(id)) await nextTurn();
      const resident = await inventory.residentOf(located, 0);
      const { name } = resident ?? model;
      const isShared = !sameModel(name, model.name);
      // No await between this check and the mark that prevents new answers.
      const remainsLoaded = isShared && keepsOtherNames;
      if (remainsLoaded ? leases.isTakenItself(id) : !occupancy.mayBeEvicted(id)) return undefined;
      const unpinsOnlyThisName = keepsOtherNames || resident === undefined;
      const wasPinned = pins.isPinned(model.name);
      for (const each of unpinsOnlyThisName ? [model.name] : runners.namesOf(engine, model.name)) pins.unpin(each);
      // It stays loaded for another name, which may not be pinned.
      if (remainsLoaded && wasPinned) await keepAliveUpdates.apply(engine, name, signal);
      if (remainsLoaded || resident === undefined) return { bytes: 0, name: model.name };
      await rooms.evict({ name, engine: engine.id }, signal).finally(leases.wake);
      const as = isShared ? ` for ${model.name}, which it also served` : "";
      const steps = [`unloaded on request${as}: ${formatBytes(resident.sizeBytes)} freed`];
      decisions.note({ kind: "unload", model: name, engine: engine.id, steps });
      return { bytes: resident.sizeBytes, name };
    });
  }

  async function expire(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    await inTurn(engine.memoryDomain, async () => {
      const isThere = (await inventory.resident(engine, 0)).some((model) => sameModel(model.name, name));
      const isUsed = !occupancy.mayBeEvicted(modelId(engine.id, name)) || isRunnerPinned(engine, name);
      if (!isThere || isUsed || owned.isForeign(engine, name)) return;
      const sentSeconds = owned.of(engine, name)?.sentSeconds ?? 0;
      await rooms.evict({ name, engine: engine.id }, signal).finally(leases.wake);
      const steps = [`unloaded: idle beyond its keep-alive of ${sentSeconds} s, and ${engine.id} still held it`];
      decisions.note({ kind: "expire", model: name, engine: engine.id, steps });
    });
  }

  const rooms = createRoomMaker({
    source,
    occupancy,
    leases,
    decisions,
    unconfirmed,
    plans,
    quickEstimate: estimates.quick,
    domainOf,
    inTurn,
    left: owned.forget,
  });
  const loadWithRetry = createLoadRetry({
    rooms,
    decisions,
    inventory,
    source,
    quickEstimate: estimates.quick,
    estimate: estimates.of,
  });
  const keepAliveUpdates = createKeepAliveUpdates({
    inventory,
    pins,
    keepAlive,
    owned,
    isEvicting: occupancy.isEvicting,
    isRunnerPinned,
    inTurn,
    log,
    publish,
  });

  return {
    plan: plans.of,
    load,
    loadNow,
    wouldEvict: (located, contextTokens) => plans.wouldEvict(located, contextTokens, parts.signal),
    resident: plans.resident,
    useResident,
    lease: (id) => leases.take(id),
    usesOf: (id) => Math.max(leases.count(id), Number(occupancy.isBusy(id))),
    isEvicting: occupancy.isEvicting,
    lossSeconds: ({ engine, model }) => policies.losses(engine)(modelId(engine.id, model.name)),
    unload,
    unloadOwned: keepAliveUpdates.unloadOwned,
    setPinned: keepAliveUpdates.setPinned,
    isPinned: pins.isPinned,
    keepAlive,
    sequences: createMoreSequences({ source, quickEstimate: estimates.quick, domainOf, decisions }),
    pinnedCount: keepAliveUpdates.pinnedCount,
    refreshKeepAlive: keepAliveUpdates.refresh,
    isBusy: occupancy.isBusy,
    isLoading: occupancy.isLoading,
    maintenance: {
      owned,
      touch: (engine, name, signal) => inTurn(engine.memoryDomain, () => keepAliveUpdates.apply(engine, name, signal)),
      isRunnerPinned,
      expire,
      hold: (id) => leases.take(id, false),
    },
    estimate: estimates.of,
    quickEstimate: estimates.quick,
    state: (engine) => readMemoryState(source, engine),
    forget(id) {
      observations.forget(id);
      policies.forget(id);
      // While the name is in use, the process that serves it is the old one.
      if (!leases.isTakenItself(id)) runners.forget(id);
    },
  };
}

function keepAliveOption(seconds: number | undefined): Pick<LoadOptions, "keepAliveSeconds"> {
  return seconds === undefined ? {} : { keepAliveSeconds: seconds };
}

function getOrCreate<Value>(map: Map<string, Value>, key: string, create: () => Value): Value {
  const existing = map.get(key);
  if (existing !== undefined) return existing;
  const created = create();
  map.set(key, created);
  return created;
}
