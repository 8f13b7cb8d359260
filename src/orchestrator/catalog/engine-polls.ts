import { OrchestratorError } from "../api/errors.ts";
import type { Event, Events } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import type { InstalledModel, ModelOverrides } from "../api/types.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import { type createExpectedEngines, type createRemoteLock, lockedMessage } from "./engine-set.ts";
import type { Awaitable, EngineModels } from "./located-model.ts";
import { defined, messageOf } from "../util/values.ts";
import { within } from "../util/timers.ts";

/** Cached data older than this is refreshed in the background. */
export const freshMs = 5_000;
const listPatienceMs = 2_000;

/** Published when an engine became unreachable or reachable again. */
const modelsChange: Event = { kind: "listed models changed", isListChanged: false };

interface PollWorld {
  readonly now: () => number;
  readonly log: Log;
  /** Takes the changes between two polls of an engine. */
  readonly events: Pick<Events, "emit" | "isHeard">;
}

interface Asked<Model> {
  readonly engine: Engine;
  fetch(): Promise<readonly Model[]>;
  differences(before: readonly Model[], after: readonly Model[]): readonly Event[];
  arrived?(value: readonly Model[], isOther: boolean): void;
}

/** A value that is polled from one engine, and cached. */
class Poll<Model> {
  readonly #given: PollWorld & Asked<Model>;
  value: readonly Model[] = [];
  failure: { readonly sinceMs: number; readonly message: string } | undefined;
  /** Whether `value` was returned, even if it was still empty: from then on changes are published. */
  isShown = false;
  #atMs = Number.NEGATIVE_INFINITY;
  /** The fetch in progress and its epoch: its result is outdated if the epoch has advanced. */
  #pending: { readonly epoch: number; readonly sinceMs: number; readonly done: Promise<void> } | undefined;
  #epoch = 0;

  constructor(given: PollWorld & Asked<Model>) {
    this.#given = given;
  }

  /** Never polled, or dropped since. */
  get isEmpty(): boolean {
    return this.#atMs === Number.NEGATIVE_INFINITY;
  }

  get isWaiting(): boolean {
    return this.isEmpty && this.#pending !== undefined;
  }

  get ageMs(): number {
    // Absolute, so that a clock that was set back doesn't keep data fresh.
    return Math.abs(this.#given.now() - this.#atMs);
  }

  /** One fetch at a time, which concurrent callers share. Never rejects. */
  refresh(): Promise<void> {
    const epoch = this.#epoch;
    if (this.#pending?.epoch === epoch) return this.#pending.done;
    const done = this.#given.fetch().then(
      (value) => (this.#epoch === epoch ? this.#succeed(value) : this.refresh()),
      (error: unknown) => (this.#epoch === epoch ? this.#fail(error) : this.refresh()),
    );
    this.#pending = { epoch, sinceMs: this.#given.now(), done };
    return done;
  }

  /** Like `refresh`, but the patience for a hanging engine counts from the start of the fetch, not per call. */
  async refreshPatiently(): Promise<void> {
    const done = this.refresh();
    const nowMs = this.#given.now();
    const waitedMs = Math.abs(nowMs - (this.#pending?.sinceMs ?? nowMs));
    await within(
      { ms: Math.max(0, listPatienceMs - waitedMs) },
      () => done,
      () => undefined,
    );
  }

  /** The next reader polls, and a fetch in progress is repeated: callers need data from after this. */
  drop(): void {
    this.#atMs = Number.NEGATIVE_INFINITY;
    this.#epoch += 1;
  }

  #succeed(value: readonly Model[]): void {
    const differences = this.isShown ? this.#given.differences(this.value, value) : [];
    const wasDown = this.failure !== undefined;
    this.value = value;
    this.failure = undefined;
    this.#settle();
    this.#given.arrived?.(value, differences.length > 0);
    const changes = this.isShown && wasDown ? [...differences, modelsChange] : differences;
    for (const change of changes) this.#given.events.emit(change);
    this.isShown = true;
  }

  #fail(error: unknown): void {
    const { now, log, engine, events } = this.#given;
    const isKnown = error instanceof OrchestratorError;
    // With what starts it: this is all that is read of an engine that is down.
    const start = isKnown ? error.next.find((step) => step.step === "advice") : undefined;
    const message = `${messageOf(error)}${start === undefined ? "" : `: ${start.text}`}`;
    if (this.failure === undefined && this.isShown) events.emit(modelsChange);
    this.failure ??= { sinceMs: now(), message };
    if (!isKnown) log.warn(`engines: ${engine.id}: ${message}`);
    this.#settle();
  }

  #settle(): void {
    this.#atMs = this.#given.now();
    this.#pending = undefined;
  }
}

/** The installed and the loaded models of all engines, as they were polled last. */
export class EnginePolls {
  readonly #world: ConstructorParameters<typeof EnginePolls>[0];
  // Keyed by engine, not by its id, which may move to another address.
  readonly #lists = new WeakMap<Engine, Poll<InstalledModel>>();
  readonly #residents = new WeakMap<Engine, Poll<ResidentModel>>();
  readonly #stuck = new WeakMap<Engine, string>();

  constructor(
    world: PollWorld & {
      readonly engines: () => readonly Engine[];
      /** Aborts background work at close. */
      readonly signal: AbortSignal;
      /** Corrects the reported sizes of loaded models; may request their facts. */
      readonly completed: (engine: Engine, residents: readonly ResidentModel[]) => Promise<readonly ResidentModel[]>;
      /** Takes the loaded models of an engine after each poll. `isOther`: their sizes or contexts differ from those before. */
      readonly observed: (engine: Engine, residents: readonly ResidentModel[], isOther: boolean) => void;
      /** `models.<pattern>` of the settings for a name; `forgetAll` after a change. */
      readonly overrides: (name: string) => ModelOverrides;
      readonly expected: ReturnType<typeof createExpectedEngines>;
      readonly lock: Pick<ReturnType<typeof createRemoteLock>, "isLocked">;
    },
  ) {
    this.#world = world;
  }

  /** The engines that are configured now. */
  get engines(): readonly Engine[] {
    return this.#world.engines();
  }

  /** Stall detection found that the engine responds, but is stuck, or (undefined) that it produces tokens. */
  setStuck(engine: Engine, why: string | undefined): void {
    if (why === undefined) this.#stuck.delete(engine);
    else this.#stuck.set(engine, why);
  }

  /** Whether requests should go to other engines: it is stuck, or did not respond when its models were listed. */
  isDown(engine: Engine): boolean {
    return this.#stuck.has(engine) || this.#lists.get(engine)?.failure !== undefined;
  }

  /** Whether the engine is reported when it does not respond. */
  isExpected(engine: Engine): Promise<boolean> {
    return this.#world.expected.isExpected(engine);
  }

  /** Whether the last poll of its loaded models failed. */
  isUnresponsive(engine: Engine): boolean {
    return this.#residents.get(engine)?.failure !== undefined;
  }

  /**
   * The lists of all engines, at most `maxAgeMs` old; the last known one for an engine that doesn't respond within 2 s.
   */
  async lists(maxAgeMs: number): Promise<readonly EngineModels[]> {
    const asked = this.engines;
    const open = asked.filter((engine) => !this.#world.lock.isLocked(engine));
    const polls = open.map((engine) => this.#list(engine)).filter(({ ageMs }) => ageMs > maxAgeMs);
    await Promise.all(polls.map((poll) => poll.refreshPatiently()));
    return Promise.all(asked.map((engine) => this.#snapshot(engine)));
  }

  /** The cached lists, refreshed in the background if they are older than a few seconds. */
  async recentLists(): Promise<readonly EngineModels[]> {
    const known: EngineModels[] = [];
    const asked = this.engines;
    for (const engine of asked) {
      if (this.#world.lock.isLocked(engine)) {
        known.push(lockedModels(engine));
        continue;
      }
      const poll = this.#list(engine);
      const { ageMs } = poll;
      if (ageMs === Number.POSITIVE_INFINITY) return this.lists(freshMs);
      if (ageMs > freshMs) void poll.refresh();
      if (poll.failure === undefined) known.push(this.#responding(engine, poll));
    }
    if (known.length === asked.length) return known;
    return Promise.all(asked.map((engine) => this.#snapshot(engine)));
  }

  /** Its last known list, without waiting. */
  lastList(engine: Engine): readonly InstalledModel[] {
    return this.#lists.get(engine)?.value ?? [];
  }

  /** The loaded models of an engine, at most `maxAgeMs` old; empty for engines without residency. */
  resident(engine: Engine, maxAgeMs: number): Awaitable<readonly ResidentModel[]> {
    const poll = this.#resident(engine);
    if (poll === undefined || this.#world.lock.isLocked(engine)) return [];
    const { ageMs } = poll;
    if (ageMs > maxAgeMs) return poll.refreshPatiently().then(() => this.lastResident(engine));
    if (ageMs > freshMs) void poll.refresh();
    return poll.failure === undefined ? poll.value : [];
  }

  /** Its last known loaded models, without waiting. Those of an unresponsive engine can't be used or evicted. */
  lastResident(engine: Engine): readonly ResidentModel[] {
    const poll = this.#residents.get(engine);
    return poll === undefined || poll.failure !== undefined ? [] : poll.value;
  }

  /** Why engines did not respond to their last poll, and what starts them; asks none. */
  async silent(): Promise<readonly string[]> {
    const asked = this.engines.filter((engine) => !this.#world.lock.isLocked(engine));
    const said = asked.map(async (engine) => {
      // Where there are loaded models, they are polled more often.
      const { failure } = this.#residents.get(engine) ?? this.#lists.get(engine) ?? {};
      if (failure === undefined) return [];
      return this.lastList(engine).length > 0 || (await this.isExpected(engine)) ? [failure.message] : [];
    });
    return (await Promise.all(said)).flat();
  }

  /** Drops the cached data of an engine that did not respond or lacks a listed model. */
  forget(engine: Engine): void {
    this.#list(engine).drop();
    this.#resident(engine)?.drop();
  }

  forgetAll(): void {
    for (const engine of this.engines) this.forget(engine);
    if (!this.#hasReaders()) return;
    // Fetched again, so that subscribers get the changes.
    for (const engine of this.engines.filter((each) => !this.#world.lock.isLocked(each))) {
      void this.#list(engine).refresh();
      void this.#resident(engine)?.refresh();
    }
  }

  /** `isSaid`: an event says that what is loaded has changed, so that subscribers need no poll to hear of it. */
  forgetResidency(engine: Engine, isSaid = false): void {
    const poll = this.#resident(engine);
    poll?.drop();
    if (!isSaid && this.#hasReaders() && !this.#world.lock.isLocked(engine)) void poll?.refresh();
  }

  #hasReaders(): boolean {
    return this.#world.events.isHeard("listed models changed") && !this.#world.signal.aborted;
  }

  #list(engine: Engine): Poll<InstalledModel> {
    const known = this.#lists.get(engine);
    if (known !== undefined) return known;
    const { expected, overrides, signal } = this.#world;
    const fetch = async () => {
      try {
        const models = (await engine.list(signal)).map((model) => withStated(model, overrides(model.name)));
        expected.noteResponse(engine);
        return models;
      } finally {
        this.#world.events.emit({ kind: "models listed" });
      }
    };
    const poll = new Poll({ ...this.#world, engine, fetch, differences: listChange });
    this.#lists.set(engine, poll);
    return poll;
  }

  #resident(engine: Engine): Poll<ResidentModel> | undefined {
    const { residency } = engine;
    const known = this.#residents.get(engine);
    if (known !== undefined || residency === undefined) return known;
    const { completed, observed, signal } = this.#world;
    const fetch = async () => completed(engine, await residency.loaded(signal));
    const arrived = (value: readonly ResidentModel[], isOther: boolean) => observed(engine, value, isOther);
    const poll = new Poll({ ...this.#world, engine, fetch, differences: residencyChanges, arrived });
    this.#residents.set(engine, poll);
    return poll;
  }

  #responding(engine: Engine, { value: models }: Poll<InstalledModel>): EngineModels {
    const message = this.#stuck.get(engine);
    return message === undefined ? { engine, models } : { engine, models, message };
  }

  async #snapshot(engine: Engine): Promise<EngineModels> {
    if (this.#world.lock.isLocked(engine)) return lockedModels(engine);
    const poll = this.#list(engine);
    const { value: models, failure, isWaiting } = poll;
    if (isWaiting) poll.isShown = true;
    if (!isWaiting && failure === undefined) return this.#responding(engine, poll);
    if (models.length === 0 && !(await this.isExpected(engine))) return { engine, models, isUnmentioned: true };
    const { sinceMs, message } = failure ?? {
      sinceMs: this.#world.now(),
      message: `${engine.id} did not respond within ${listPatienceMs / 1000} s`,
    };
    return { engine, models, staleSince: new Date(sinceMs).toISOString(), message };
  }
}

function withStated(model: InstalledModel, { family, capabilities, profiles }: ModelOverrides): InstalledModel {
  const stated = defined({ family, capabilities, profiles });
  return Object.keys(stated).length === 0 ? model : { ...model, ...defined({ capabilities }), stated };
}

function lockedModels(engine: Engine): EngineModels {
  return { engine, models: [], message: lockedMessage(engine), isLocked: true };
}

/** The changes between two lists of an engine's models: none, other weights under the same names, or other names. */
function listChange(before: readonly InstalledModel[], after: readonly InstalledModel[]): readonly Event[] {
  if (!differ(before, after, ({ name, digest, sizeBytes, modifiedAt }) => [name, digest, sizeBytes, modifiedAt]))
    return [];
  return [{ kind: "listed models changed", isListChanged: differ(before, after, ({ name }) => name) }];
}

/** Smaller differences are not reported: the memory of a process changes with every answer. */
const notableBytes = 16 * 1024 ** 2;

/**
 * The changes between two polls of an engine's loaded models. Expiries are ignored; a changed size is a change of the
 * memory only.
 */
export function residencyChanges(before: readonly ResidentModel[], after: readonly ResidentModel[]): readonly Event[] {
  if (differ(before, after, ({ name, contextTokens }) => [name, contextTokens]))
    return [{ kind: "memory changed" }, { kind: "listed models changed", isListChanged: false }];
  const isOther = differ(before, after, ({ name, sizeBytes }) => [name, Math.round(sizeBytes / notableBytes)]);
  return isOther ? [{ kind: "memory changed" }] : [];
}

/** Whether two lists differ in this of their models, in whatever order these are. */
function differ<Model>(before: readonly Model[], after: readonly Model[], of: (model: Model) => unknown): boolean {
  const [one, other] = [before, after].map((models) => models.map((model) => JSON.stringify(of(model))).toSorted());
  return JSON.stringify(one) !== JSON.stringify(other);
}
