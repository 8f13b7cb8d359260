import { throwIfCancelled } from "../api/errors.ts";
import type { Log } from "../api/log.ts";
import type { ResidentModel } from "../api/types.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import type { Inventory } from "../models/inventory.ts";
import { modelId } from "../models/located-model.ts";
import { formatDuration } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import type { Timers } from "../util/timers.ts";
import type { Decisions } from "./decisions.ts";
import type { Loader } from "./loader.ts";
import type { LostPins } from "./lost-pins.ts";
import { type MaintainedModel, planMaintenance, touchIntervalMs } from "./maintenance-plan.ts";

/** Background maintenance of loaded models: polls the engines while a model of ours is loaded. */
export interface Maintenance {
  /** A model of ours may have been loaded: starts polling. */
  begin(): void;
  /** Polls all engines once, now. Never throws. */
  poll(): Promise<void>;
  /** The machine slept: that time doesn't count as idle. */
  wokeUp(): void;
  close(): void;
}

const pollIntervalMs = 20_000;
/** Delay of the first poll: a model that was just loaded is about to be used. */
const firstPollMs = 2_000;
/** Engines unload models slightly after the end of their keep-alive. */
const endSlackMs = 1_000;
/** A timer this late means that the machine slept, even if `wokeUp` was not called yet. */
const sleepGapMs = 30_000;

/**
 * Renews the keep-alive of pinned models, unloads models that their engine should have unloaded, and detects what other
 * programs do to our models. Touches only loaded models, so that a touch never loads one.
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
  /** Checks the engines, before keep-alives are. */
  readonly afterSleep: () => Promise<void>;
  readonly signal: AbortSignal;
}): Maintenance {
  const { inventory, loader, lost, decisions, timers, now, log, signal } = parts;
  const { owned, touch, expire } = loader.maintenance;
  let cancel: (() => void) | undefined;
  let awakeSinceMs = now();
  let wasDueAtMs: number | undefined;
  let polling: Promise<void> | undefined;
  /** Includes pinned models that another program loaded. */
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
      sentSeconds: own?.sentSeconds,
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
    for (const { name, sentSeconds } of owned.all(engine)) {
      if (isBusy(name) || resident.some((model) => sameModel(model.name, name))) continue;
      // Pinned models are reported by `lost`.
      if (!loader.maintenance.isRunnerPinned(engine, name)) {
        const idleMs = now() - owned.lastActivityMs(engine, name);
        decisions.note({
          kind: "expire",
          model: name,
          engine: engine.id,
          steps: [whyGone(engine.id, sentSeconds, idleMs)],
        });
      }
      owned.forget(engine, name);
    }
    await lost.check(engine, resident, signal);
    if (engine.isPrivate !== true) await maintain(engine, resident);
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
        const steps = [`${engine.id} would have unloaded ${name}, which is pinned: keep-alive renewed`];
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
      if (!signal.aborted) log.warn(`maintenance: ${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async function pollOnce(): Promise<void> {
    if (wasDueAtMs !== undefined && now() - wasDueAtMs > sleepGapMs) {
      awakeSinceMs = now();
      await attempt("checking the engines after a sleep", parts.afterSleep);
    }
    wasDueAtMs = undefined;
    for (const engine of inventory.engines) await attempt(`polling ${engine.id}`, () => pollEngine(engine));
    parts.polled();
    // No timers while no model of ours is loaded.
    const isNeeded = (engine: Engine) => owned.all(engine).length > 0 || lost.isExpecting(engine);
    if (inventory.engines.some(isNeeded)) schedule(nextPollMs());
  }

  /** At most until our next keep-alive ends; those that have ended already don't count. */
  function nextPollMs(): number {
    const ends = inventory.engines.flatMap((engine) =>
      owned.all(engine).flatMap(({ name, sentSeconds = -1 }) => {
        const endsInMs = owned.lastActivityMs(engine, name) + sentSeconds * 1_000 - now();
        return sentSeconds < 0 || endsInMs <= 0 ? [] : [endsInMs + endSlackMs];
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

  /** The loss of a pinned model that no poll has seen would not be noticed. */
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

/** Why a model of ours is no longer loaded, although this program did not unload it. */
function whyGone(engine: string, sentSeconds: number | undefined, idleMs: number): string {
  const idle = `idle for ${formatDuration(idleMs)}`;
  // Without a keep-alive of ours the engine's idle timeout applies.
  if (sentSeconds === undefined) return `${idle}: unloaded by ${engine}`;
  if (sentSeconds >= 0 && idleMs + clockSlackMs >= sentSeconds * 1_000) {
    return `${idle}: its keep-alive of ${formatDuration(sentSeconds * 1_000)} ended, unloaded by ${engine}`;
  }
  const when =
    sentSeconds < 0
      ? "although it was pinned"
      : `before its keep-alive of ${formatDuration(sentSeconds * 1_000)} ended`;
  return `unloaded ${when}: ${engine} was restarted or evicted it, or another program unloaded it`;
}
