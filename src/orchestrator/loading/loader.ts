import { setImmediate as nextTurn } from "node:timers/promises";
import { createMutex, type Mutex } from "../async/mutex.ts";
import type { Engine, LoadOptions, Report } from "../engines/engine.ts";
import { LoadFailed, throwIfCancelled } from "../errors.ts";
import { type Inventory, type LocatedModel, takesNoMemory } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Log } from "../log.ts";
import { createMemoryDomain, type MemoryDomain } from "../memory/domain.ts";
import { formatBytes } from "../text/format-bytes.ts";
import { pinnedInTheWay } from "../memory/pinned-in-the-way.ts";
import { type LoadTarget, type MemoryState, planLoad } from "../memory/plan.ts";
import type { Observations } from "../observations/observations.ts";
import type { Operations } from "../operations/operations.ts";
import { sameModel } from "../store/model-name.ts";
import type { Settings } from "../config/schema.ts";
import type { MemoryProbe } from "../hardware/probe.ts";
import type { Change, LoadResult } from "../facade.ts";
import type { LoadPlan, Operation, ResidentModel } from "../types.ts";
import { doesNotFit, elsewherePlan, unmeasuredPlan } from "./adjust.ts";
import { createEstimates, type Estimates } from "./estimates.ts";
import type { Keeping } from "./keeping.ts";
import { createLeases, type Lease, untilReleased } from "./leases.ts";
import { type MemoryStateSource, readMemoryState } from "./memory-state.ts";
import { createOwnLoads } from "./own-loads.ts";
import { createStays, type Stays } from "./stays.ts";

export type { Lease } from "./leases.ts";

export interface Loader {
  /** What a load would do, without doing it; a model that is loaded with `sufficientTokens` is used as it is. */
  plan(located: LocatedModel, contextTokens: number, signal: AbortSignal, sufficientTokens?: number): Promise<LoadPlan>;
  /**
   * Loads the model unless it is loaded with that context; loads of one model are joined. Installs the engine first
   * when it is missing and `mayInstall` (a generation must not: 48 MB are no surprise to spring on a question).
   * Without `keepAliveSeconds` a model that is loaded keeps its own, and one that isn't gets the setting's; a pinned one
   * stays whatever is asked.
   */
  load(located: LocatedModel, options: LoadOptions, mayInstall: boolean): Operation<LoadResult>;
  /** Takes a lease if the model is loaded with at least `contextTokens`; nothing is waited for but a list. */
  useResident(
    located: LocatedModel,
    contextTokens: number | undefined,
  ): Promise<(Lease & { readonly resident: ResidentModel }) | undefined>;
  /** Protects a model that is loaded or about to be. */
  lease(id: string): Lease;
  /** Bytes that were freed; undefined when the model is in use, and stays. Nothing pins it any more then. */
  unload(located: LocatedModel, signal: AbortSignal): Promise<number | undefined>;
  unloadOwn: Stays["unloadOwn"];
  setPinned: Stays["setPinned"];
  pinnedCount: Stays["pinnedCount"];
  followKeepAlive: Stays["follow"];
  /** Whether a model that is in memory stays there. */
  isPinned(name: string): boolean;
  /** Keep-alive that an answer is asked for with, in seconds, where its request names `asked`; undefined: none. */
  secondsOfAnswer: Keeping["secondsOfAnswer"];
  isBusy(id: string): boolean;
  isLoading(id: string): boolean;
  estimate: Estimates["of"];
  quickEstimate: Estimates["quick"];
  /** The memory that `engine` loads into, all loads in progress counted; undefined when it can't be measured. */
  state(engine: Engine): Promise<MemoryState | undefined>;
}

/** The runner of loads: plans are pure (`memory/plan.ts`), this is where their effects happen. */
export function createLoader(parts: {
  readonly inventory: Inventory;
  readonly operations: Operations;
  readonly observations: Observations;
  readonly probe: MemoryProbe;
  /** Asked anew each time. */
  readonly settings: () => Settings;
  readonly keeping: Keeping;
  /** Engines that were replaced and still hold what was under way. */
  readonly leaving: () => readonly Engine[];
  readonly now: () => number;
  readonly log: Log;
  readonly publish: (change: Change) => void;
}): Loader {
  const { inventory, operations, observations, settings, keeping, now, log, publish } = parts;
  const domains = new Map<string, MemoryDomain>();
  const locks = new Map<string, Mutex>();
  const leases = createLeases((id) => observations.used(id));
  const estimates = createEstimates(settings);
  const estimate = estimates.of;
  const loading = new Map<string, number>();
  /** Loaded this very turn: whoever waited for the load is about to take a lease. */
  const settling = new Set<string>();
  const evicting = new Set<string>();
  const ours = createOwnLoads();

  const domainOf = (id: string): MemoryDomain => getOrCreate(domains, id, () => createMemoryDomain(id));
  /** Plans and the evictions they lead to; loads themselves overlap, each with its memory reserved. */
  const oneAtATime = (id: string): Mutex => getOrCreate(locks, id, createMutex);
  const isBusy = (id: string) => leases.isTaken(id) || loading.has(id);
  const mayBeEvicted = (id: string) => !isBusy(id) && !settling.has(id);
  const source: MemoryStateSource = {
    inventory,
    probe: parts.probe,
    observations,
    memory: () => settings().memory,
    domains: domainOf,
    leaving: parts.leaving,
    isBusy,
    isPinned: keeping.isPinned,
    isOurs: (engine, name) => ours.of(engine, name) !== undefined,
  };

  async function findResident(located: LocatedModel, maxAgeMs: number): Promise<ResidentModel | undefined> {
    const resident = await inventory.resident(located.engine, maxAgeMs);
    return resident.find((model) => sameModel(model.name, located.model.name));
  }

  async function plan(
    located: LocatedModel,
    contextTokens: number,
    signal: AbortSignal,
    sufficientTokens = contextTokens,
  ): Promise<LoadPlan> {
    if (takesNoMemory(located)) return elsewherePlan(located, contextTokens);
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    const [estimated, state, resident] = await Promise.all([
      estimate(located, contextTokens, signal),
      readMemoryState(source, engine, id),
      findResident(located, 0),
    ]);
    const isLoaded = resident !== undefined && (resident.contextTokens ?? contextTokens) >= sufficientTokens;
    const target = {
      model: model.name,
      engine: engine.id,
      contextTokens: isLoaded ? (resident.contextTokens ?? contextTokens) : contextTokens,
      estimate: estimated,
      fileBytes: model.sizeBytes,
      isLoaded,
    };
    return state === undefined ? unmeasuredPlan(target) : planLoad(target, state);
  }

  async function useResident(located: LocatedModel, contextTokens: number | undefined) {
    const id = modelId(located.engine.id, located.model.name);
    const remembered = await findResident(located, 60_000);
    const isExpired = remembered?.expiresAt !== undefined && Date.parse(remembered.expiresAt) <= now();
    const resident = isExpired ? await findResident(located, 0) : remembered;
    // Checked after the await and followed by the lease without another one: nothing can evict it in between.
    if (resident === undefined || evicting.has(id) || loading.has(id)) return undefined;
    if (resident.contextTokens !== undefined && contextTokens !== undefined && resident.contextTokens < contextTokens)
      return undefined;
    return { resident, ...leases.take(id) };
  }

  function load(located: LocatedModel, options: LoadOptions, mayInstall: boolean): Operation<LoadResult> {
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    return operations.start<LoadResult>(
      { kind: "load", title: `load ${model.name}`, key: `load ${id} ${options.contextTokens} ${mayInstall}` },
      async ({ signal, report }) => {
        const { residency, installation } = engine;
        if (mayInstall && installation !== undefined && !(await installation.isInstalled())) {
          await installation.install(report, signal);
        }
        const base = { model: model.name, engine: engine.id };
        const { plan: made, release } = await makeRoom(located, options.contextTokens, report, signal);
        if (made.isLoaded) {
          // Cheap, and restarts the model's idle time.
          const { contextTokens } = made;
          const asked = options.keepAliveSeconds;
          const told = asked === undefined ? undefined : keeping.secondsOfLoad(model.name, asked);
          const again = { ...options, contextTokens, ...keepAlive(told) };
          await residency?.load(model.name, again, report, signal).finally(release);
          if (told !== undefined && ours.of(engine, model.name)) ours.note(engine, { name: model.name, asked, told });
          return { ...base, loadMs: 0, wasLoaded: true, plan: made };
        }
        const startedAtMs = now();
        keeping.wasLoaded(model.name);
        const asked = options.keepAliveSeconds;
        const told = keeping.secondsOfLoad(model.name, asked);
        try {
          report({ message: `loading ${model.name} (${formatBytes(made.estimate.predictedBytes)})` });
          await residency?.load(model.name, { ...options, ...keepAlive(told) }, report, signal);
        } catch (error) {
          if (error instanceof LoadFailed) observations.failed(id, error.message, true);
          throw error;
        } finally {
          inventory.forgetResidency(engine);
          release();
        }
        const loadMs = now() - startedAtMs;
        ours.note(engine, { name: model.name, asked, told });
        observations.loaded(id, loadMs);
        // Pinned, or let go of, while it was on its way.
        if (keeping.secondsOfLoad(model.name, asked) !== told) await stays.tell(engine, model.name, signal);
        return { ...base, loadMs, wasLoaded: false, plan: made };
      },
    );
  }

  /** Evicts until the model fits and reserves its memory; waits while only busy models are in the way. */
  async function makeRoom(
    located: LocatedModel,
    contextTokens: number,
    report: Report,
    signal: AbortSignal,
  ): Promise<Room> {
    // Remembered from here on: a simulation may take seconds, and others wait for the lock.
    await estimate(located, contextTokens, signal);
    for (;;) {
      // Subscribed before looking, so that a release in between is not missed.
      const released = leases.nextRelease();
      const outcome = await oneAtATime(located.engine.memoryDomain)(() =>
        tryToMakeRoom(located, contextTokens, report, signal),
      );
      if (typeof outcome !== "string") return outcome;
      report({ message: outcome });
      await untilReleased(released, signal);
    }
  }

  /** One look at the memory: room was made, or what to wait for, in words. Throws `ModelDoesNotFit`. */
  async function tryToMakeRoom(
    located: LocatedModel,
    contextTokens: number,
    report: Report,
    signal: AbortSignal,
  ): Promise<Room | string> {
    throwIfCancelled(signal, `loading ${located.model.name}`);
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    const made = await plan(located, contextTokens, signal);
    // Nothing is awaited between these checks and the marks they lead to.
    if (made.isLoaded) return { plan: made, release: occupy(id, () => undefined) };
    if (isBusy(id)) return `waiting: ${model.name} grows to ${contextTokens} tokens when its present answer is done`;
    const areVictimsIdle = made.evict.every((victim) => mayBeEvicted(modelId(victim.engine, victim.name)));
    if (made.fits && areVictimsIdle) {
      const release = occupy(id, domainOf(engine.memoryDomain).reserve(id, made.estimate.predictedBytes));
      try {
        await evictAll(made, report, signal);
      } catch (error) {
        release();
        throw error;
      }
      log.debug(`load ${model.name}: ${made.steps.join(" -> ")}`);
      return { plan: made, release };
    }
    if (made.fits || (await wouldFitWhenIdle(located, contextTokens, signal))) {
      return `waiting for memory: ${model.name} fits when the models that are answering now are done`;
    }
    const state = await readMemoryState(source, engine, id);
    const inTheWay = state === undefined ? [] : pinnedInTheWay(await targetOf(located, contextTokens, signal), state);
    const lists = await inventory.recentLists();
    throw doesNotFit(made, lists, settings().memory.bufferBytes, inTheWay, estimates.quick);
  }

  async function targetOf(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<LoadTarget> {
    const { engine, model } = located;
    return {
      model: model.name,
      engine: engine.id,
      contextTokens,
      estimate: await estimate(located, contextTokens, signal),
      fileBytes: model.sizeBytes,
      isLoaded: false,
    };
  }

  /** Marks a model as loading, so that nobody evicts it; the answer undoes that and what `alsoRelease` stands for. */
  function occupy(id: string, alsoRelease: () => void): () => void {
    loading.set(id, (loading.get(id) ?? 0) + 1);
    publish({ kind: "models", isListChanged: false });
    return () => {
      alsoRelease();
      const count = (loading.get(id) ?? 1) - 1;
      if (count === 0) loading.delete(id);
      else loading.set(id, count);
      publish({ kind: "models", isListChanged: false });
      settling.add(id);
      setImmediate(() => {
        settling.delete(id);
        leases.wake();
      });
    };
  }

  async function evictAll(made: LoadPlan, report: Report, signal: AbortSignal): Promise<void> {
    const ids = made.evict.map((victim) => modelId(victim.engine, victim.name));
    for (const victimId of ids) evicting.add(victimId);
    try {
      for (const victim of made.evict) {
        const purpose = victim.name === made.model ? "to load it with more context" : `to make room for ${made.model}`;
        report({ message: `unloading ${victim.name} (${formatBytes(victim.bytes)}) ${purpose}` });
        await evict(victim, signal);
      }
    } finally {
      for (const victimId of ids) evicting.delete(victimId);
    }
  }

  async function evict(victim: { name: string; engine: string }, signal: AbortSignal): Promise<void> {
    const engine = inventory.engines.find((candidate) => candidate.id === victim.engine);
    const id = modelId(victim.engine, victim.name);
    evicting.add(id);
    try {
      await engine?.residency?.unload(victim.name, signal);
      if (engine !== undefined) ours.forget(engine, victim.name);
    } finally {
      if (engine !== undefined) inventory.forgetResidency(engine);
      evicting.delete(id);
    }
  }

  async function wouldFitWhenIdle(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<boolean> {
    const { engine, model } = located;
    const state = await readMemoryState(source, engine, modelId(engine.id, model.name));
    if (state === undefined || (!state.resident.some((entry) => entry.isBusy) && state.reservedBytes === 0))
      return false;
    const idle = { ...state, reservedBytes: 0, resident: state.resident.map((entry) => ({ ...entry, isBusy: false })) };
    return planLoad(await targetOf(located, contextTokens, signal), idle).fits;
  }

  function unload(located: LocatedModel, signal: AbortSignal): Promise<number | undefined> {
    const { engine, model } = located;
    const id = modelId(engine.id, model.name);
    return oneAtATime(engine.memoryDomain)(async () => {
      throwIfCancelled(signal, `unloading ${model.name}`);
      // Whoever loaded it this very turn either takes its lease or is done.
      if (settling.has(id)) await nextTurn();
      const resident = await findResident(located, 0);
      // Nothing is awaited between this check and the mark that keeps new answers away.
      if (!mayBeEvicted(id)) return undefined;
      keeping.release(model.name);
      if (resident === undefined) return 0;
      await evict({ name: resident.name, engine: engine.id }, signal).finally(leases.wake);
      return resident.sizeBytes;
    });
  }

  const stays = createStays({
    inventory,
    keeping,
    ours,
    isEvicting: (id) => evicting.has(id),
    inTurn: (domain, work) => oneAtATime(domain)(work),
    log,
    publish,
  });

  return {
    plan,
    load,
    useResident,
    lease: leases.take,
    unload,
    unloadOwn: stays.unloadOwn,
    setPinned: stays.setPinned,
    isPinned: keeping.isPinned,
    secondsOfAnswer: keeping.secondsOfAnswer,
    pinnedCount: stays.pinnedCount,
    followKeepAlive: stays.follow,
    isBusy,
    isLoading: (id) => loading.has(id),
    estimate,
    quickEstimate: estimates.quick,
    state: (engine) => readMemoryState(source, engine),
  };
}

/** A plan whose evictions are done and whose memory is set aside until `release`. */
interface Room {
  readonly plan: LoadPlan;
  readonly release: () => void;
}

function keepAlive(seconds: number | undefined): Pick<LoadOptions, "keepAliveSeconds"> {
  return seconds === undefined ? {} : { keepAliveSeconds: seconds };
}

function getOrCreate<Value>(map: Map<string, Value>, key: string, create: () => Value): Value {
  const existing = map.get(key);
  if (existing !== undefined) return existing;
  const created = create();
  map.set(key, created);
  return created;
}
