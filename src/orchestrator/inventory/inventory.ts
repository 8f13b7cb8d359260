import type { Changes } from "../changes/changes.ts";
import type { Engine, EngineResidency } from "../engines/engine.ts";
import { OrchestratorError } from "../errors.ts";
import type { Change } from "../facade.ts";
import type { Log } from "../log.ts";
import { sameModel } from "../store/model-name.ts";
import type { InstalledModel, ModelFacts, ResidentModel } from "../types.ts";
import { createKnownFacts } from "./known-facts.ts";
import { modelId } from "./model-id.ts";
import type { EngineModels, LocatedModel, ModelReference } from "./located-model.ts";
import { createRunners, type Runners, sharedResident } from "./runners.ts";
import { unknownModel } from "./unknown-model.ts";
import { listChange, residencyChanges } from "./differences.ts";

export interface Inventory {
  /** As configured now: others after a change of their settings. */
  readonly engines: readonly Engine[];
  /** All lists, none older than `maxAgeMs`; an engine that doesn't answer within 2 s gives its last list. */
  lists(maxAgeMs: number): Promise<readonly EngineModels[]>;
  /** The lists as they are, refreshed behind the caller's back when older than a few seconds. */
  recentLists(): Promise<readonly EngineModels[]>;
  /** Every model once: where it is loaded, else at the first engine that holds it and answers. */
  uniqueModels(lists: readonly EngineModels[]): Promise<readonly LocatedModel[]>;
  /** Facts of one model, remembered by its digest; a file that can't be read, for a minute. Throws what `Engine.describe` throws. */
  facts(where: ModelReference, signal: AbortSignal): Promise<ModelFacts>;
  /** Those of `facts`, where they are known already. */
  knownFacts(where: ModelReference): ModelFacts | undefined;
  /** What an engine has in memory, at most `maxAgeMs` old; empty where residency is not ours to see. */
  resident(engine: Engine, maxAgeMs: number): Promise<readonly ResidentModel[]>;
  /**
   * What answers for the model without a load, as seen at most `maxAgeMs` ago: it has another name where that one shares
   * its process (`Runners`). What it takes to know that is asked of the engine once.
   */
  residentOf(located: LocatedModel, maxAgeMs: number): Promise<ResidentModel | undefined>;
  /** Whether there is one. */
  isLoaded(located: LocatedModel, maxAgeMs: number): Promise<boolean>;
  /** As far as models were described. */
  readonly runners: Omit<Runners, "note">;
  /** `modelId` of a listed model, taken apart once. */
  idOf(located: LocatedModel): string;
  /** After a sign that the engine is not as remembered: it did not answer, or misses a model. */
  forget(engine: Engine): void;
  /** After a pull or a delete: engines may read the same files, so every list is fetched anew. */
  forgetAll(): void;
  forgetResidency(engine: Engine): void;
  /** Whether the last look at what it has in memory failed. */
  isUnresponsive(engine: Engine): boolean;
  /** Its models as they were listed last; nothing is waited for. */
  lastList(engine: Engine): readonly InstalledModel[];
  /** What the engine had in memory when it was last looked at; nothing is waited for. */
  lastResident(engine: Engine): readonly ResidentModel[];
  /**
   * The model at every engine that holds it, in the engines' configured order; one where it is loaded comes first, those of
   * engines that don't answer come last.
   * Throws `UnknownModel` with the nearest names.
   */
  locate(name: string, engineId?: string): Promise<readonly LocatedModel[]>;
}

/** A list older than this is fetched again, behind the caller's back. */
const freshMs = 5_000;
const listPatienceMs = 2_000;

interface Remembered<Value> {
  value: Value;
  /** Somebody was shown `value`, be it empty because nothing was fetched yet: from here on a change is news. */
  isShown: boolean;
  atMs: number;
  failure: { sinceMs: number; message: string } | undefined;
  /** The fetch under way, and the epoch it began in: what it brings is old news once the epoch has moved on. */
  pending: { readonly epoch: number; readonly sinceMs: number; readonly done: Promise<void> } | undefined;
  epoch: number;
}

type Cache<Value> = WeakMap<Engine, Remembered<Value>>;

/** Where a remembered value comes from, and what its changes mean to those who watch. */
interface Source<Value> {
  readonly fetch: () => Promise<Value>;
  readonly differences: (before: Value, after: Value) => readonly Change[];
}

/** What is shown of models is other than before: an engine went down or came back. */
const modelsChange: Change = { kind: "models", isListChanged: false };

export function createInventory(world: {
  readonly engines: () => readonly Engine[];
  readonly now: () => number;
  readonly log: Log;
  /** Ends background work at close. */
  readonly signal: AbortSignal;
  /** Why an engine that answers is taken to give no tokens, in a sentence. */
  readonly stuck?: (engine: Engine) => string | undefined;
  /** Mends what an engine says of sizes in memory; the facts of those models may be asked for. */
  readonly completed?: (engine: Engine, residents: readonly ResidentModel[]) => Promise<readonly ResidentModel[]>;
  /** Told what differs between one look at an engine and the next. */
  readonly changes: Pick<Changes, "publish" | "isHeard">;
}): Inventory {
  const { engines, now, log, changes } = world;
  // By engine, not by its id: the one at another address has other models, and goes when its engine does.
  const listCache: Cache<readonly InstalledModel[]> = new WeakMap();
  const residencyCache: Cache<readonly ResidentModel[]> = new WeakMap();

  /** The absolute difference: a clock that was set back must not keep anything fresh. */
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

  /** One fetch at a time per engine; callers that come meanwhile share it. */
  function refresh<Value>(entry: Remembered<Value>, engine: Engine, source: Source<Value>): Promise<void> {
    const { epoch } = entry;
    if (entry.pending?.epoch === epoch) return entry.pending.done;
    const done = source.fetch().then(
      (value) => {
        // Dropped meanwhile: who waits for this wants what is true after that.
        if (entry.epoch !== epoch) return refresh(entry, engine, source);
        const before = entry.value;
        const wasDown = entry.failure !== undefined;
        entry.value = value;
        entry.failure = undefined;
        settle();
        if (entry.isShown) tell([...source.differences(before, value), ...(wasDown ? [modelsChange] : [])]);
        entry.isShown = true;
        return undefined;
      },
      (error: unknown) => {
        if (entry.epoch !== epoch) return refresh(entry, engine, source);
        const message = error instanceof Error ? error.message : String(error);
        if (entry.failure === undefined && entry.isShown) tell([modelsChange]);
        entry.failure ??= { sinceMs: now(), message };
        if (!(error instanceof OrchestratorError)) log.warn(`${engine.id}: ${message}`);
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

  /** As `refresh`, but an engine that hangs is waited for once, not by every call. */
  function refreshPatiently<Value>(entry: Remembered<Value>, engine: Engine, source: Source<Value>): Promise<void> {
    const done = refresh(entry, engine, source);
    const waitedMs = ageMs(entry.pending?.sinceMs ?? now());
    return withPatience(done, Math.max(0, listPatienceMs - waitedMs));
  }

  function drop<Value>(entry: Remembered<Value>): void {
    entry.atMs = Number.NEGATIVE_INFINITY;
    entry.epoch += 1;
  }

  function tell(found: readonly Change[]): void {
    for (const change of found) changes.publish(change);
  }

  const listSource = (engine: Engine): Source<readonly InstalledModel[]> => ({
    fetch: () => engine.list(world.signal),
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

  /** Those who watch are told what came of it although nobody asks. */
  function lookAgain(engine: Engine): void {
    if (!changes.isHeard() || world.signal.aborted) return;
    void refreshList(engine);
    lookAgainAtResidency(engine);
  }

  function lookAgainAtResidency(engine: Engine): void {
    const { residency } = engine;
    if (residency === undefined || !changes.isHeard() || world.signal.aborted) return;
    void refresh(
      remembered<readonly ResidentModel[]>(residencyCache, engine, []),
      engine,
      residencySource(engine, residency),
    );
  }

  function snapshot(engine: Engine): EngineModels {
    const entry = remembered(listCache, engine, []);
    const waiting = entry.atMs === Number.NEGATIVE_INFINITY && entry.pending !== undefined;
    if (waiting) {
      entry.isShown = true;
      const message = `${engine.id} did not answer within ${listPatienceMs / 1000} s`;
      return { engine, models: entry.value, staleSince: new Date(now()).toISOString(), message };
    }
    const stuck = world.stuck?.(engine);
    if (entry.failure === undefined) {
      return { engine, models: entry.value, ...(stuck === undefined ? {} : { message: stuck }) };
    }
    const { sinceMs, message } = entry.failure;
    return { engine, models: entry.value, staleSince: new Date(sinceMs).toISOString(), message };
  }

  async function lists(maxAgeMs: number): Promise<readonly EngineModels[]> {
    const asked = engines();
    await Promise.all(
      asked
        .map((engine) => ({ engine, entry: remembered(listCache, engine, []) }))
        .filter(({ entry }) => ageMs(entry.atMs) > maxAgeMs)
        .map(({ engine, entry }) => refreshPatiently(entry, engine, listSource(engine))),
    );
    return asked.map(snapshot);
  }

  async function recentLists(): Promise<readonly EngineModels[]> {
    const asked = engines();
    const entries = asked.map((engine) => remembered(listCache, engine, []));
    if (entries.some((entry) => entry.atMs === Number.NEGATIVE_INFINITY)) return lists(freshMs);
    for (const engine of asked) {
      if (ageMs(remembered(listCache, engine, []).atMs) > freshMs) void refreshList(engine);
    }
    return asked.map(snapshot);
  }

  async function resident(engine: Engine, maxAgeMs: number): Promise<readonly ResidentModel[]> {
    const { residency } = engine;
    if (residency === undefined) return [];
    const entry = remembered<readonly ResidentModel[]>(residencyCache, engine, []);
    const source = residencySource(engine, residency);
    const entryAgeMs = ageMs(entry.atMs);
    if (entryAgeMs > maxAgeMs) await refreshPatiently(entry, engine, source);
    else if (entryAgeMs > freshMs) void refresh(entry, engine, source);
    // An engine that doesn't answer holds nothing that could be used or evicted.
    return entry.failure === undefined ? entry.value : [];
  }

  /** Every choice of a model looks at all of them: taking a hundred names apart anew would cost it a millisecond. */
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
    // Not in the remembered lists: another program may have pulled it since.
    let found = find(await recentLists());
    if (found.length === 0) found = find(await lists(0));
    if (found.length === 0) throw unknownModel(name, await recentLists(), engineId);
    return inOrderOfUse(found);
  }

  /** Loaded first, engines that don't answer last; otherwise the engines' configured order stays. */
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
      engines().forEach(lookAgain);
    },
    forgetResidency(engine) {
      drop(remembered(residencyCache, engine, []));
      lookAgainAtResidency(engine);
    },
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
