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
import { planMaintenance, type MaintainedModel, touchIntervalMs } from "./maintenance-plan.ts";
import type { Loader } from "../loading/loader.ts";
import type { LostPins } from "./lost-pins.ts";

/** Background maintenance of loaded models: polls the engines while a model of ours is in memory. */
export interface Maintenance {
  /** Something of ours may be in memory now. */
  begin(): void;
  /** Polls all engines once, now. Never throws. */
  poll(): Promise<void>;
  /** The machine slept: nothing has grown idle meanwhile. */
  wokeUp(): void;
  close(): void;
}

const pollIntervalMs = 20_000;
/** A model that was just loaded is about to be used. */
const firstPollMs = 2_000;
/** Engines unload a little after the end of a keep-alive. */
const endSlackMs = 1_000;
/** So late a timer means that the machine slept; nobody may have told yet. */
const sleepGapMs = 30_000;

/**
 * Renews the keep-alive of pinned models, unloads what an engine should have unloaded, and notices what other programs
 * do to our models. Touches only models in memory: a touch must load nothing.
 */
export function createMaintenance(parts: {
  readonly inventory: Inventory;
  readonly loader: Pick<Loader, "isPinned" | "isBusy" | "maintenance">;
  readonly lost: LostPins;
  readonly decisions: Decisions;
  readonly settings: () => Settings;
  readonly timers: Timers;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Log;
  /** A poll has ended. */
  readonly polled: () => void;
  /** Asks the engines whether they are alive, before anything expires. */
  readonly afterSleep: () => Promise<void>;
  readonly signal: AbortSignal;
}): Maintenance {
  const { inventory, loader, lost, decisions, timers, now, log, signal } = parts;
  const { owned, touch, expire } = loader.maintenance;
  let cancel: (() => void) | undefined;
  let awakeSinceMs = now();
  let wasDueAtMs: number | undefined;
  let polling: Promise<void> | undefined;
  /** Pinned models that another program loaded are touched too. */
  const touchedAtMs = new Map<string, number>();

  function schedule(delayMs: number): void {
    if (signal.aborted) return;
    cancel?.();
    wasDueAtMs = now() + delayMs;
    cancel = timers.after(delayMs, () => {
      cancel = undefined;
      void poll();
    });
  }

  function maintainedModel(engine: Engine, model: ResidentModel): MaintainedModel {
    const own = owned.of(engine, model.name);
    const expiresAtMs = Date.parse(model.expiresAt ?? "");
    return {
      name: model.name,
      expiresAtMs: Number.isNaN(expiresAtMs) ? undefined : expiresAtMs,
      isPinned: loader.maintenance.isRunnerPinned(engine, model.name),
      isBusy: loader.isBusy(modelId(engine.id, model.name)),
      isOurs: !owned.isForeign(engine, model.name),
      toldSeconds: own?.told,
      lastActivityMs: Math.max(
        owned.lastActivityMs(engine, model.name),
        touchedAtMs.get(modelId(engine.id, model.name)) ?? 0,
      ),
    };
  }

  async function pollEngine(engine: Engine): Promise<void> {
    const resident = await inventory.resident(engine, 0);
    if (inventory.isUnresponsive(engine)) {
      lost.wasUnresponsive(engine);
      return;
    }
    const isBusy = (name: string) => loader.isBusy(modelId(engine.id, name));
    owned.observe(engine, resident, isBusy);
    for (const { name, told } of owned.all(engine)) {
      if (isBusy(name) || resident.some((model) => sameModel(model.name, name))) continue;
      // Pinned models are reported by `lost`.
      if (!loader.maintenance.isRunnerPinned(engine, name)) {
        const idleMs = now() - owned.lastActivityMs(engine, name);
        decisions.note({ kind: "expire", model: name, engine: engine.id, steps: [whyGone(engine.id, told, idleMs)] });
      }
      owned.forget(engine, name);
    }
    await lost.check(engine, resident, signal);
    // The embedded engine's children serve only us, and it tracks their keep-alive itself.
    if (engine.kind !== "llama-cpp") await maintain(engine, resident);
  }

  async function maintain(engine: Engine, resident: readonly ResidentModel[]): Promise<void> {
    const { timeout } = parts.settings().model.keepAlive;
    const clock = { nowMs: now(), awakeSinceMs, touchEveryMs: touchIntervalMs(timeout) };
    const plan = planMaintenance(
      resident.map((model) => maintainedModel(engine, model)),
      clock,
    );
    for (const { name, isLosing } of plan.touch) {
      if (isLosing) {
        const steps = [`${engine.id} would have unloaded ${name}, which is pinned: told again to keep it`];
        decisions.note({ kind: "touch", model: name, engine: engine.id, steps });
      }
      touchedAtMs.set(modelId(engine.id, name), now());
      await attempt(`touching ${name}`, () => touch(engine, name, signal));
    }
    for (const name of plan.expire) await attempt(`unloading ${name}`, () => expire(engine, name, signal));
  }

  async function attempt(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      throwIfCancelled(signal, what);
      await work();
    } catch (error) {
      if (!signal.aborted) log.warn(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async function pollOnce(): Promise<void> {
    if (wasDueAtMs !== undefined && now() - wasDueAtMs > sleepGapMs) {
      awakeSinceMs = now();
      await attempt("looking at the engines after a sleep", parts.afterSleep);
    }
    wasDueAtMs = undefined;
    for (const engine of inventory.engines) await attempt(`looking at ${engine.id}`, () => pollEngine(engine));
    parts.polled();
    // With nothing of ours in memory nothing wakes the machine.
    const isNeeded = (engine: Engine) => owned.all(engine).length > 0 || lost.isExpecting(engine);
    if (inventory.engines.some(isNeeded)) schedule(nextPollMs());
  }

  /** Until our next keep-alive ends; one that has already ended is no reason to poll more often. */
  function nextPollMs(): number {
    const ends = inventory.engines.flatMap((engine) =>
      owned.all(engine).flatMap(({ name, told = -1 }) => {
        const endsInMs = owned.lastActivityMs(engine, name) + told * 1_000 - now();
        return told < 0 || endsInMs <= 0 ? [] : [endsInMs + endSlackMs];
      }),
    );
    return Math.min(pollIntervalMs, ...ends);
  }

  function poll(): Promise<void> {
    polling ??= pollOnce().finally(() => {
      polling = undefined;
    });
    return polling;
  }

  /** A pinned model that disappears before the next poll would not be missed. */
  function hasUnseenPin(): boolean {
    return inventory.engines.some((engine) =>
      owned.all(engine).some(({ name }) => loader.isPinned(name) && !lost.hasSeen(engine, name)),
    );
  }

  return {
    begin() {
      const isLate = cancel !== undefined && (wasDueAtMs ?? 0) - now() > firstPollMs;
      if (cancel === undefined && polling === undefined) schedule(firstPollMs);
      else if (isLate && hasUnseenPin()) schedule(firstPollMs);
      else if (isLate && nextPollMs() < (wasDueAtMs ?? 0) - now()) schedule(nextPollMs());
      // A change during a poll may have come too late for it.
      else if (cancel === undefined) void polling?.finally(() => cancel === undefined && schedule(firstPollMs));
    },
    poll,
    wokeUp() {
      awakeSinceMs = now();
      if (wasDueAtMs !== undefined) wasDueAtMs = now() + pollIntervalMs;
    },
    close() {
      cancel?.();
      cancel = undefined;
    },
  };
}

/** A poll comes up to `pollIntervalMs` late, and an engine's clock may be a little ahead. */
const clockSlackMs = 5_000;

/** Why a model of ours is not in its engine's memory any more, when nothing here unloaded it. */
function whyGone(engine: string, told: number | undefined, idleMs: number): string {
  const idle = `not used for ${formatDuration(idleMs)}`;
  // Without a keep-alive of ours the engine's own idle timeout applies.
  if (told === undefined) return `${idle}: unloaded by ${engine}`;
  if (told >= 0 && idleMs + clockSlackMs >= told * 1_000) {
    return `${idle}: its keep-alive of ${formatDuration(told * 1_000)} ended, unloaded by ${engine}`;
  }
  const when = told < 0 ? "although it was to stay" : `before its keep-alive of ${formatDuration(told * 1_000)} ended`;
  return `gone ${when}: ${engine} was restarted, made room or was asked by another program`;
}
