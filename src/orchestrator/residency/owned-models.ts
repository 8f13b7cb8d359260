import type { Engine } from "../engines/engine.ts";
import { keyOfName } from "../util/model-name.ts";
import type { ResidentModel } from "../api/types.ts";
import { judgeExpiry, type Sighting } from "./expiry.ts";
import { localDomain } from "./memory-state.ts";

/** A model that was loaded through this program. */
export interface OwnedModel {
  readonly name: string;
  readonly digest?: string | undefined;
  /** Keep-alive of the request, in seconds. */
  readonly requestedSeconds: number | undefined;
  /** Keep-alive last sent to the engine, in seconds. */
  readonly sentSeconds: number | undefined;
}

/** Which models in memory this program loaded, by engine; all others belong to other programs. */
export interface OwnedModels {
  /** The model was loaded, or its keep-alive sent, now or at `atMs` (since the epoch). */
  note(engine: Engine, load: OwnedModel, atMs?: number): void;
  /** A touch or a probe of ours restarted its keep-alive. */
  acted(engine: Engine, name: string): void;
  forget(engine: Engine, name: string): void;
  of(engine: Engine, name: string): OwnedModel | undefined;
  /** Including models that their engine may have unloaded since. */
  all(engine: Engine): readonly OwnedModel[];
  /** Detects use by other programs: compares each model's expiry with the keep-alive sent. Skips busy models. */
  observe(engine: Engine, resident: readonly ResidentModel[], isBusy: (name: string) => boolean): void;
  /** Loaded, or recently used, by another program: evicted last, and never for being idle. */
  isForeign(engine: Engine, name: string): boolean;
  /** Milliseconds since the epoch when its keep-alive last restarted, by any program. */
  lastActivityMs(engine: Engine, name: string): number;
}

interface Entry {
  load: OwnedModel;
  actedAtMs: number;
  sighting: Sighting | undefined;
  touchedAtMs: number | undefined;
  /** Another program set its keep-alive. */
  isTaken: boolean;
}

/** Use by another program counts for this long: the default keep-alive. */
const foreignUseMs = 15 * 60_000;

/**
 * Keyed by engine, not by its id, which may have moved to another address. `lastUsedMs`: end of the last use through
 * this program. `changed` is called when a model was loaded, unloaded or sent another keep-alive.
 */
export function createOwnedModels(parts: {
  readonly now: () => number;
  readonly lastUsedMs: (engine: Engine, name: string) => number | undefined;
  readonly changed: () => void;
}): OwnedModels {
  const { now } = parts;
  const byEngine = new WeakMap<Engine, Map<string, Entry>>();
  const entryOf = (engine: Engine, name: string) => byEngine.get(engine)?.get(keyOfName(name));
  const ownActivityMs = (engine: Engine, { load, actedAtMs }: Entry) =>
    Math.max(actedAtMs, parts.lastUsedMs(engine, load.name) ?? 0);

  function observeModel(engine: Engine, entry: Entry, resident: ResidentModel): void {
    const expiresAtMs = Date.parse(resident.expiresAt ?? "");
    if (Number.isNaN(expiresAtMs)) return;
    const activityMs = ownActivityMs(engine, entry);
    // A poll in the same millisecond may predate the activity.
    if (activityMs >= now()) return;
    const seen = { expiresAtMs, atMs: now() };
    const own = { sentSeconds: entry.load.sentSeconds, activityMs, hasSameClock: engine.memoryDomain === localDomain };
    const verdict = judgeExpiry(own, entry.sighting, seen);
    entry.sighting = { ...seen, activityMs };
    if (verdict === "ours") return;
    entry.touchedAtMs = now();
    entry.isTaken ||= verdict === "taken";
  }

  return {
    note(engine, load, atMs = now()) {
      const loads = byEngine.get(engine) ?? new Map<string, Entry>();
      byEngine.set(engine, loads);
      const key = keyOfName(load.name);
      const touchedAtMs = loads.get(key)?.touchedAtMs;
      const digest = load.digest ?? loads.get(key)?.load.digest;
      loads.set(key, { load: { ...load, digest }, actedAtMs: atMs, sighting: undefined, touchedAtMs, isTaken: false });
      parts.changed();
    },
    acted(engine, name) {
      const entry = entryOf(engine, name);
      if (entry !== undefined) entry.actedAtMs = now();
    },
    forget(engine, name) {
      if (byEngine.get(engine)?.delete(keyOfName(name)) === true) parts.changed();
    },
    of: (engine, name) => entryOf(engine, name)?.load,
    all: (engine) => [...(byEngine.get(engine)?.values() ?? [])].map(({ load }) => load),
    observe(engine, resident, isBusy) {
      if (engine.isPrivate === true) return;
      for (const model of resident) {
        const entry = entryOf(engine, model.name);
        if (entry !== undefined && !isBusy(model.name)) observeModel(engine, entry, model);
      }
    },
    isForeign(engine, name) {
      const entry = entryOf(engine, name);
      if (entry === undefined || entry.isTaken) return true;
      return entry.touchedAtMs !== undefined && now() - entry.touchedAtMs < foreignUseMs;
    },
    lastActivityMs(engine, name) {
      const entry = entryOf(engine, name);
      return entry === undefined ? 0 : Math.max(ownActivityMs(engine, entry), entry.touchedAtMs ?? 0);
    },
  };
}
