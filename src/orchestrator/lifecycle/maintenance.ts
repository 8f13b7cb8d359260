import type { Timers } from "../async/timers.ts";
import type { Decisions } from "../decisions/decisions.ts";
import type { Engine } from "../engines/engine.ts";
import { throwIfCancelled } from "../errors.ts";
import type { Inventory } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Log } from "../log.ts";
import { sameModel } from "../store/model-name.ts";
import { formatDuration } from "../text/format-duration.ts";
import type { Settings } from "../config/schema.ts";
import type { ResidentModel } from "../types.ts";
import { dutiesOf, type Stay, touchIntervalMs } from "./maintenance-plan.ts";
import type { Loader } from "../loading/loader.ts";
import type { LostPins } from "./lost-pins.ts";

/** Looks now and then at what is in memory, as long as something of ours is. */
export interface Upkeep {
  /** Something of ours may be in memory now. */
  begin(): void;
  /** One look, now. Never throws. */
  look(): Promise<void>;
  /** The machine slept: nothing has grown idle meanwhile. */
  wokeUp(): void;
  close(): void;
}

const lookMs = 20_000;
/** Whoever loads is about to use it. */
const firstLookMs = 2_000;
/** Engines unload a little after the end of a keep-alive. */
const endSlackMs = 1_000;
/** So late a timer means that the machine slept; nobody may have told yet. */
const sleepGapMs = 30_000;

/**
 * Pinned models are told again to stay, what its engine should have unloaded is unloaded, and what others do to our
 * models is noticed. Only what an engine has in memory is touched: a touch must load nothing.
 */
export function createUpkeep(parts: {
  readonly inventory: Inventory;
  readonly loader: Pick<Loader, "isPinned" | "isBusy" | "upkeep">;
  readonly lost: LostPins;
  readonly decisions: Decisions;
  readonly settings: () => Settings;
  readonly timers: Timers;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Log;
  /** A look has ended. */
  readonly looked: () => void;
  /** Asks the engines whether they are alive, before anything expires. */
  readonly afterSleep: () => Promise<void>;
  readonly signal: AbortSignal;
}): Upkeep {
  const { inventory, loader, lost, decisions, timers, now, log, signal } = parts;
  const { ours, touch, expire } = loader.upkeep;
  let cancel: (() => void) | undefined;
  let awakeSinceMs = now();
  let wasDueAtMs: number | undefined;
  let looking: Promise<void> | undefined;
  /** Pinned models that somebody else loaded are touched too. */
  const touchedAtMs = new Map<string, number>();

  function schedule(delayMs: number): void {
    if (signal.aborted) return;
    cancel?.();
    wasDueAtMs = now() + delayMs;
    cancel = timers.after(delayMs, () => {
      cancel = undefined;
      void look();
    });
  }

  function stayOf(engine: Engine, model: ResidentModel): Stay {
    const own = ours.of(engine, model.name);
    const expiresAtMs = Date.parse(model.expiresAt ?? "");
    return {
      name: model.name,
      expiresAtMs: Number.isNaN(expiresAtMs) ? undefined : expiresAtMs,
      isPinned: loader.upkeep.isKept(engine, model.name),
      isBusy: loader.isBusy(modelId(engine.id, model.name)),
      isOurs: !ours.isForeign(engine, model.name),
      toldSeconds: own?.told,
      lastActivityMs: Math.max(
        ours.lastActivityMs(engine, model.name),
        touchedAtMs.get(modelId(engine.id, model.name)) ?? 0,
      ),
    };
  }

  async function lookAt(engine: Engine): Promise<void> {
    const resident = await inventory.resident(engine, 0);
    if (inventory.isSilent(engine)) {
      lost.wasSilent(engine);
      return;
    }
    const isBusy = (name: string) => loader.isBusy(modelId(engine.id, name));
    ours.look(engine, resident, isBusy);
    for (const { name, told } of ours.all(engine)) {
      if (isBusy(name) || resident.some((model) => sameModel(model.name, name))) continue;
      // What becomes of a pinned one is noted by `lost`.
      if (!loader.upkeep.isKept(engine, name)) {
        const idleMs = now() - ours.lastActivityMs(engine, name);
        decisions.note({ kind: "expire", model: name, engine: engine.id, steps: [whyGone(engine.id, told, idleMs)] });
      }
      ours.forget(engine, name);
    }
    await lost.look(engine, resident, signal);
    // The embedded engine's children belong to nobody else, and it keeps their time itself.
    if (engine.kind !== "llama-cpp") await doDuties(engine, resident);
  }

  async function doDuties(engine: Engine, resident: readonly ResidentModel[]): Promise<void> {
    const { timeout } = parts.settings().model.keepAlive;
    const clock = { nowMs: now(), awakeSinceMs, touchEveryMs: touchIntervalMs(timeout) };
    const duties = dutiesOf(
      resident.map((model) => stayOf(engine, model)),
      clock,
    );
    for (const { name, isLosing } of duties.touch) {
      if (isLosing) {
        const steps = [`${engine.id} would have unloaded ${name}, which is pinned: told again to keep it`];
        decisions.note({ kind: "touch", model: name, engine: engine.id, steps });
      }
      touchedAtMs.set(modelId(engine.id, name), now());
      await attempt(`touching ${name}`, () => touch(engine, name, signal));
    }
    for (const name of duties.expire) await attempt(`unloading ${name}`, () => expire(engine, name, signal));
  }

  async function attempt(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      throwIfCancelled(signal, what);
      await work();
    } catch (error) {
      if (!signal.aborted) log.warn(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async function lookOnce(): Promise<void> {
    if (wasDueAtMs !== undefined && now() - wasDueAtMs > sleepGapMs) {
      awakeSinceMs = now();
      await attempt("looking at the engines after a sleep", parts.afterSleep);
    }
    wasDueAtMs = undefined;
    for (const engine of inventory.engines) await attempt(`looking at ${engine.id}`, () => lookAt(engine));
    parts.looked();
    // With nothing of ours in memory nothing wakes the machine.
    const isNeeded = (engine: Engine) => ours.all(engine).length > 0 || lost.isExpecting(engine);
    if (inventory.engines.some(isNeeded)) schedule(nextLookMs());
  }

  /** Until the next keep-alive of ours has ended; one that is over already is no reason to look more often. */
  function nextLookMs(): number {
    const ends = inventory.engines.flatMap((engine) =>
      ours.all(engine).flatMap(({ name, told = -1 }) => {
        const endsInMs = ours.lastActivityMs(engine, name) + told * 1_000 - now();
        return told < 0 || endsInMs <= 0 ? [] : [endsInMs + endSlackMs];
      }),
    );
    return Math.min(lookMs, ...ends);
  }

  function look(): Promise<void> {
    looking ??= lookOnce().finally(() => {
      looking = undefined;
    });
    return looking;
  }

  /** A pin that goes before the next look would not be missed. */
  function hasUnseenPin(): boolean {
    return inventory.engines.some((engine) =>
      ours.all(engine).some(({ name }) => loader.isPinned(name) && !lost.hasSeen(engine, name)),
    );
  }

  return {
    begin() {
      const isLate = cancel !== undefined && (wasDueAtMs ?? 0) - now() > firstLookMs;
      if (cancel === undefined && looking === undefined) schedule(firstLookMs);
      else if (isLate && hasUnseenPin()) schedule(firstLookMs);
      else if (isLate && nextLookMs() < (wasDueAtMs ?? 0) - now()) schedule(nextLookMs());
      // What came during a look may have come too late for it.
      else if (cancel === undefined) void looking?.finally(() => cancel === undefined && schedule(firstLookMs));
    },
    look,
    wokeUp() {
      awakeSinceMs = now();
      if (wasDueAtMs !== undefined) wasDueAtMs = now() + lookMs;
    },
    close() {
      cancel?.();
      cancel = undefined;
    },
  };
}

/** A look comes up to `lookMs` late, and an engine's clock may be a little ahead. */
const clockSlackMs = 5_000;

/** Why a model of ours is not in its engine's memory any more, when nothing here unloaded it. */
function whyGone(engine: string, told: number | undefined, idleMs: number): string {
  const idle = `not used for ${formatDuration(idleMs)}`;
  // Without a keep-alive of ours the engine's own idle time holds.
  if (told === undefined) return `${idle}: unloaded by ${engine}`;
  if (told >= 0 && idleMs + clockSlackMs >= told * 1_000) {
    return `${idle}: its keep-alive of ${formatDuration(told * 1_000)} ended, unloaded by ${engine}`;
  }
  const stay = told < 0 ? "although it was to stay" : `before its keep-alive of ${formatDuration(told * 1_000)} ended`;
  return `gone ${stay}: ${engine} was restarted, made room or was asked by another program`;
}
