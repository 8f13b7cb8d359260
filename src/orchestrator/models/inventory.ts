import { OrchestratorError } from "../api/errors.ts";
import type { Change } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { InstalledModel, ModelFacts, ResidentModel } from "../api/types.ts";
import type { Engine, EngineResidency } from "../engines/engine.ts";
import type { Changes } from "../jobs/changes.ts";
import { sameModel } from "../util/model-name.ts";
import type { ExpectedEngines } from "./engine-set.ts";
import { createKnownFacts } from "./known-facts.ts";
import {
  type EngineModels,
  type LocatedModel,
  type ModelReference,
  listChange,
  modelId,
  residencyChanges,
  unknownModel,
} from "./located-model.ts";
import { type Runners, createRunners, sharedResident } from "./runners.ts";

export interface Inventory {
  /** The engines that are configured now. */
  readonly engines: readonly Engine[];
  /**
   * The lists of all engines, at most `maxAgeMs` old; the last known one for an engine that doesn't respond within 2 s.
   */
  lists(maxAgeMs: number): Promise<readonly EngineModels[]>;
  /** The cached lists, refreshed in the background if they are older than a few seconds. */
  recentLists(): Promise<readonly EngineModels[]>;
  /** Every model once: at the engine where it is loaded, else at the first one that holds it and responds. */
  uniqueModels(lists: readonly EngineModels[]): Promise<readonly LocatedModel[]>;
  /**
   * Facts of a model, cached by digest; the error of an unreadable file, for a minute. Throws what `Engine.describe`
   * throws.
   */
  facts(where: ModelReference, signal: AbortSignal): Promise<ModelFacts>;
  /** The cached facts of a model, if any. */
  knownFacts(where: ModelReference): ModelFacts | undefined;
  /** The loaded models of an engine, at most `maxAgeMs` old; empty for engines without residency. */
  resident(engine: Engine, maxAgeMs: number): Promise<readonly ResidentModel[]>;
  /**
   * The loaded model that serves the given one, at most `maxAgeMs` old. It may have another name that shares the
   * process (`Runners`); the facts needed to find it are requested once.
   */
  residentOf(located: LocatedModel, maxAgeMs: number): Promise<ResidentModel | undefined>;
  /** Whether `residentOf` finds one. */
  isLoaded(located: LocatedModel, maxAgeMs: number): Promise<boolean>;
  /** Based on the facts that were requested so far. */
  readonly runners: Omit<Runners, "note">;
  /** `modelId` of a listed model; cached. */
  idOf(located: LocatedModel): string;
  /** Drops the cached data of an engine that did not respond or lacks a listed model. */
  forget(engine: Engine): void;
  /** Drops the cached data of all engines after a pull or a delete: engines may share files. */
  forgetAll(): void;
  forgetResidency(engine: Engine): void;
  /** Whether the engine is reported when it does not respond. */
  isExpected(engine: Engine): Promise<boolean>;
  /** Whether the last poll of its loaded models failed. */
  isUnresponsive(engine: Engine): boolean;
  /** Its last known list, without waiting. */
  lastList(engine: Engine): readonly InstalledModel[];
  /** Its last known loaded models, without waiting. */
  lastResident(engine: Engine): readonly ResidentModel[];
  /**
   * The model at every engine that holds it, in the configured order of the engines; engines where it is loaded come
   * first, unresponsive ones last. Throws `UnknownModel` with the nearest names.
   */
  locate(name: string, engineId?: string): Promise<readonly LocatedModel[]>;
}

/** Cached data older than this is refreshed in the background. */
const freshMs = 5_000;
const listPatienceMs = 2_000;

interface Remembered<Value> {
  value: Value;
  /** Whether `value` was returned, even if it was still empty: from then on changes are published. */
  isShown: boolean;
  atMs: number;
  failure: { sinceMs: number; message: string } | undefined;
  /** The fetch in progress and its epoch: its result is outdated if the epoch has advanced. */
  pending: { readonly epoch: number; readonly sinceMs: number; readonly done: Promise<void> } | undefined;
  epoch: number;
}

type Cache<Value> = WeakMap<Engine, Remembered<Value>>;

/** How a cached value is fetched, and which changes to publish when it differs. */
interface Source<Value> {
  readonly fetch: () => Promise<Value>;
  readonly differences: (before: Value, after: Value) => readonly Change[];
}

/** Published when an engine became unreachable or reachable again. */
const modelsChange: Change = { kind: "models", isListChanged: false };

export function createInventory(world: {
  readonly engines: () => readonly Engine[];
  readonly now: () => number;
  readonly log: Log;
  /** Aborts background work at close. */
  readonly signal: AbortSignal;
  /** Why a responding engine is considered stuck, in one sentence. */
  readonly stuck?: (engine: Engine) => string | undefined;
  /** Corrects the reported sizes of loaded models; may request their facts. */
  readonly completed?: (engine: Engine, residents: readonly ResidentModel[]) => Promise<readonly ResidentModel[]>;
  /** Default: all engines are. */
  readonly expected?: ExpectedEngines;
  /** What a pull of a model downloads and needs, for the error about an unknown one. */
  readonly describeDownload?: (name: string) => Promise<string | undefined>;
  /** Called after each list that was read from an engine. */
  readonly listed?: () => void;
  /** Gets the changes between two polls of an engine. */
  readonly changes: Pick<Changes, "publish" | "hasSubscribers">;
}): Inventory {
  const { engines, now, log, changes } = world;
  // Keyed by engine, not by its id, which may move to another address.
  const listCache: Cache<readonly InstalledModel[]> = new WeakMap();
  const residencyCache: Cache<readonly ResidentModel[]> = new WeakMap();

  /** Absolute, so that a clock that was set back doesn't keep data fresh. */
  const ageMs = (atMs: number): number => Math.abs(now() - atMs);
  const runners = createRunners();
  const facts = createKnownFacts(runners, now, ageMs);

  function remembered<Value>(cache: Cache<Value>, engine: Engine, empty: Value): Remembered<Value> {
    let entry = cache.get(engine);
    if (entry === undefined) {
      entry = {
        value: empty,
        isShown: false,
        atMs: Number.NEGATIVE_INFINITY,
        failure: undefined,
        pending: undefined,
        epoch: 0,
      };
      cache.set(engine, entry);
    }
    return entry;
  }

  /** One fetch at a time per engine, which concurrent callers share. */
  function refresh<Value>(entry: Remembered<Value>, engine: Engine, source: Source<Value>): Promise<void> {
    const { epoch } = entry;
    if (entry.pending?.epoch === epoch) return entry.pending.done;
    const done = source.fetch().then(
      (value) => {
        // Dropped meanwhile: callers need data from after that.
        if (entry.epoch !== epoch) return refresh(entry, engine, source);
        const before = entry.value;
        const wasDown = entry.failure !== undefined;
        entry.value = value;
        entry.failure = undefined;
        settle();
        if (entry.isShown) publishAll([...source.differences(before, value), ...(wasDown ? [modelsChange] : [])]);
        entry.isShown = true;
        return undefined;
      },
      (error: unknown) => {
        if (entry.epoch !== epoch) return refresh(entry, engine, source);
        const message = error instanceof Error ? error.message : String(error);
        if (entry.failure === undefined && entry.isShown) publishAll([modelsChange]);
        entry.failure ??= { sinceMs: now(), message };
        if (!(error instanceof OrchestratorError)) log.warn(`engines: ${engine.id}: ${message}`);
        settle();
        return undefined;
      },
    );
    const settle = () => {
      entry.atMs = now();
      entry.pending = undefined;
    };
    entry.pending = { epoch, sinceMs: now(), done };
    return done;
  }

  /** Like `refresh`, but the patience for a hanging engine counts from the start of the fetch, not per call. */
  function refreshPatiently<Value>(entry: Remembered<Value>, engine: Engine, source: Source<Value>): Promise<void> {
    const done = refresh(entry, engine, source);
    const waitedMs = ageMs(entry.pending?.sinceMs ?? now());
    return withPatience(done, Math.max(0, listPatienceMs - waitedMs));
  }

  function drop<Value>(entry: Remembered<Value>): void {
    entry.atMs = Number.NEGATIVE_INFINITY;
    entry.epoch += 1;
  }

  function publishAll(found: readonly Change[]): void {
    for (const change of found) changes.publish(change);
  }

  const listSource = (engine: Engine): Source<readonly InstalledModel[]> => ({
    async fetch() {
      const models = await engine.list(world.signal);
      world.expected?.noteResponse(engine);
      world.listed?.();
      return models;
    },
    differences: listChange,
  });
  const residencySource = (engine: Engine, residency: EngineResidency): Source<readonly ResidentModel[]> => ({
    async fetch() {
      const residents = await residency.loaded(world.signal);
      return world.completed === undefined ? residents : await world.completed(engine, residents);
    },
    differences: residencyChanges,
  });

  const refreshList = (engine: Engine) => refresh(remembered(listCache, engine, []), engine, listSource(engine));

  /** Fetches again so that subscribers get the changes. */
  function refetch(engine: Engine): void {
    if (!changes.hasSubscribers() || world.signal.aborted) return;
    void refreshList(engine);
    refetchResidency(engine);
  }

  function refetchResidency(engine: Engine): void {
    const { residency } = engine;
    if (residency === undefined || !changes.hasSubscribers() || world.signal.aborted) return;
    void refresh(
      remembered<readonly ResidentModel[]>(residencyCache, engine, []),
      engine,
      residencySource(engine, residency),
    );
  }

  const isExpected = (engine: Engine) => world.expected?.isExpected(engine) ?? Promise.resolve(true);

  async function snapshot(engine: Engine): Promise<EngineModels> {
    const entry = remembered(listCache, engine, []);
    const { value: models, failure } = entry;
    const waiting = entry.atMs === Number.NEGATIVE_INFINITY && entry.pending !== undefined;
    if (waiting) entry.isShown = true;
    const stuck = world.stuck?.(engine);
    if (!waiting && failure === undefined)
      return { engine, models, ...(stuck === undefined ? {} : { message: stuck }) };
    if (models.length === 0 && !(await isExpected(engine))) return { engine, models, isUnmentioned: true };
    const { sinceMs, message } = failure ?? {
      sinceMs: now(),
      message: `${engine.id} did not respond within ${listPatienceMs / 1000} s`,
    };
    return { engine, models, staleSince: new Date(sinceMs).toISOString(), message };
  }

  async function lists(maxAgeMs: number): Promise<readonly EngineModels[]> {
    const asked = engines();
    await Promise.all(
      asked
        .map((engine) => ({ engine, entry: remembered(listCache, engine, []) }))
        .filter(({ entry }) => ageMs(entry.atMs) > maxAgeMs)
        .map(({ engine, entry }) => refreshPatiently(entry, engine, listSource(engine))),
    );
    return Promise.all(asked.map(snapshot));
  }

  async function recentLists(): Promise<readonly EngineModels[]> {
    const asked = engines();
    const entries = asked.map((engine) => remembered(listCache, engine, []));
    if (entries.some((entry) => entry.atMs === Number.NEGATIVE_INFINITY)) return lists(freshMs);
    for (const engine of asked) {
      if (ageMs(remembered(listCache, engine, []).atMs) > freshMs) void refreshList(engine);
    }
    return Promise.all(asked.map(snapshot));
  }

  async function resident(engine: Engine, maxAgeMs: number): Promise<readonly ResidentModel[]> {
    const { residency } = engine;
    if (residency === undefined) return [];
    const entry = remembered<readonly ResidentModel[]>(residencyCache, engine, []);
    const source = residencySource(engine, residency);
    const entryAgeMs = ageMs(entry.atMs);
    if (entryAgeMs > maxAgeMs) await refreshPatiently(entry, engine, source);
    else if (entryAgeMs > freshMs) void refresh(entry, engine, source);
    // The models of an unresponsive engine can't be used or evicted.
    return entry.failure === undefined ? entry.value : [];
  }

  /** Cached: parsing a hundred names for each choice of a model would take a millisecond. */
  const keys = new WeakMap<InstalledModel | ResidentModel, string>();
  function keyOf(model: InstalledModel | ResidentModel): string {
    const known = keys.get(model) ?? modelId("", model.name);
    keys.set(model, known);
    return known;
  }

  async function residentOf(located: LocatedModel, maxAgeMs: number): Promise<ResidentModel | undefined> {
    const { engine, model } = located;
    const loaded = await resident(engine, maxAgeMs);
    const named = loaded.find((each) => keyOf(each) === keyOf(model));
    return named ?? (await sharedResident(located, loaded, listCache.get(engine)?.value ?? [], describedIfPossible));
  }

  async function describedIfPossible(where: ModelReference): Promise<ModelFacts | undefined> {
    return await facts.of(where, world.signal).catch(() => undefined);
  }

  const isLoaded = async (located: LocatedModel, maxAgeMs: number): Promise<boolean> =>
    (await residentOf(located, maxAgeMs)) !== undefined;

  async function uniqueModels(all: readonly EngineModels[]): Promise<readonly LocatedModel[]> {
    const byName = new Map<string, LocatedModel[]>();
    for (const { engine, models } of all) {
      for (const model of models) {
        const key = keyOf(model);
        byName.set(key, [...(byName.get(key) ?? []), { engine, model }]);
      }
    }
    return Promise.all(
      [...byName.values()].map(async (held) => {
        if (held.length === 1) return held[0];
        return (await inOrderOfUse(held))[0];
      }),
    ).then((found) => found.filter((located) => located !== undefined));
  }

  async function locate(name: string, engineId?: string): Promise<readonly LocatedModel[]> {
    const find = (all: readonly EngineModels[]) =>
      all
        .filter(({ engine }) => engineId === undefined || engine.id === engineId)
        .flatMap(({ engine, models }) =>
          models.filter((model) => sameModel(model.name, name)).map((model) => ({ engine, model })),
        );
    // If it isn't in the cached lists, another program may have pulled it since.
    let found = find(await recentLists());
    if (found.length === 0) found = find(await lists(0));
    if (found.length === 0)
      throw unknownModel(name, await recentLists(), engineId, await world.describeDownload?.(name));
    return inOrderOfUse(found);
  }

  /** Loaded first, unresponsive engines last, otherwise in the configured order. */
  async function inOrderOfUse(held: readonly LocatedModel[]): Promise<readonly LocatedModel[]> {
    const ranked = await Promise.all(
      held.map(async (located) => {
        const isDown =
          listCache.get(located.engine)?.failure !== undefined || world.stuck?.(located.engine) !== undefined;
        return { located, order: isDown ? 2 : (await isLoaded(located, freshMs)) ? 0 : 1 };
      }),
    );
    return ranked.toSorted((a, b) => a.order - b.order).map(({ located }) => located);
  }

  function forget(engine: Engine): void {
    drop(remembered(listCache, engine, []));
    drop(remembered(residencyCache, engine, []));
  }

  return {
    get engines() {
      return engines();
    },
    lists,
    recentLists,
    uniqueModels,
    facts: facts.of,
    knownFacts: facts.known,
    resident,
    residentOf,
    isLoaded,
    runners,
    idOf: ({ engine, model }) => engine.id + keyOf(model),
    forget,
    forgetAll() {
      facts.forgetUnreadable();
      engines().forEach(forget);
      engines().forEach(refetch);
    },
    forgetResidency(engine) {
      drop(remembered(residencyCache, engine, []));
      refetchResidency(engine);
    },
    isExpected,
    isUnresponsive: (engine) => residencyCache.get(engine)?.failure !== undefined,
    lastList: (engine) => listCache.get(engine)?.value ?? [],
    lastResident(engine) {
      const entry = residencyCache.get(engine);
      return entry === undefined || entry.failure !== undefined ? [] : entry.value;
    },
    locate,
  };
}

async function withPatience(work: Promise<void>, patienceMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, patienceMs);
  });
  await Promise.race([work, patience]);
  clearTimeout(timer);
}
