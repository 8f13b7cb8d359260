import type { Engine } from "../engines/engine.ts";
import { keyOfName } from "../store/model-name.ts";
import type { ResidentModel } from "../types.ts";
import { judge, type Sighting } from "./expiry.ts";
import { localDomain } from "./memory-state.ts";

/** A model that was loaded through this program. */
export interface OwnedModel {
  readonly name: string;
  readonly digest?: string | undefined;
  /** Keep-alive that the request named, in seconds. */
  readonly asked: number | undefined;
  /** Keep-alive that the engine was told last. */
  readonly told: number | undefined;
}

/** What was loaded here, engine by engine; everything else in memory is somebody else's. */
export interface OwnedModels {
  /** Its engine was told so just now, or at `atMs` since the epoch. */
  note(engine: Engine, load: OwnedModel, atMs?: number): void;
  /** Something of ours that is no use restarted its time: a touch, a probe. */
  acted(engine: Engine, name: string): void;
  forget(engine: Engine, name: string): void;
  of(engine: Engine, name: string): OwnedModel | undefined;
  /** Whether it is still loaded is for the engine to say. */
  all(engine: Engine): readonly OwnedModel[];
  /** Compares what an engine has in memory with what it was told; a busy model is not judged. */
  observe(engine: Engine, resident: readonly ResidentModel[], isBusy: (name: string) => boolean): void;
  /** Loaded, or used a short while ago, by somebody else: it goes last, and not for being idle. */
  isForeign(engine: Engine, name: string): boolean;
  /** Milliseconds since the epoch of the last thing that restarted its time, by whomever. */
  lastActivityMs(engine: Engine, name: string): number;
}

interface Entry {
  load: OwnedModel;
  actedAtMs: number;
  sighting: Sighting | undefined;
  touchedAtMs: number | undefined;
  /** Somebody else said how long it stays. */
  isTaken: boolean;
}

/** Who used a model a quarter of an hour ago, the time that models stay by default, is done with it. */
const foreignUseMs = 15 * 60_000;

/**
 * By engine, not by its id: what was loaded at another address is not here. `lastUsedMs`: end of the last use through
 * this program. `changed` is called when what is loaded, or what was told, is other than before.
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
    // What was seen in this very moment may be from before it.
    if (activityMs >= now()) return;
    const seen = { expiresAtMs, atMs: now() };
    const own = { toldSeconds: entry.load.told, activityMs, hasSameClock: engine.memoryDomain === localDomain };
    const verdict = judge(own, entry.sighting, seen);
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
      // Nobody but us speaks to the embedded engine's children.
      if (engine.kind === "llama-cpp") return;
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
