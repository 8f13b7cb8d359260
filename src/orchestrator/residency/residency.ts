import { type Emit, noteDecision } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine, ResidentModel } from "../engines/engine.ts";
import type { Operations } from "../jobs/operations.ts";
import { createEstimates } from "./estimates.ts";
import type { KeptLearning } from "./kept-learning.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Timers } from "../util/timers.ts";
import { createLoadInBackground, createPreload, createLostPins } from "./background-loader.ts";
import { createEvictionPolicies } from "./eviction-policies.ts";
import { Health, createTokenProbe } from "./health.ts";
import { KeepAlive, type Pins } from "./keep-alive.ts";
import { Loader } from "./loader.ts";
import { createMoreSequences } from "./more-sequences.ts";
import { createOwnedModelsStore } from "./owned-models-store.ts";
import { Plans } from "./plans.ts";
import { createLoadOperations, createRequestQueues } from "./request-queues.ts";
import { throwIfCancelled } from "../api/errors.ts";
import { formatDuration } from "../util/format-bytes.ts";
import { sameModel } from "../util/model-name.ts";
import { planMaintenance, touchIntervalMs } from "./maintenance-plan.ts";
import { messageOf } from "../util/values.ts";

interface ResidencyParts extends Pick<
  ConstructorParameters<typeof Plans>[0],
  "slots" | "inventory" | "observations" | "probe" | "leaving" | "now"
> {
  readonly pins: Pins;
  readonly operations: Operations;
  /** Called on each use. */
  readonly settings: () => Settings;
  /** Absent: what is learned is lost when this process ends. */
  readonly kept: KeptLearning | undefined;
  /** Storage of the loaded models; absent: they are forgotten with the process. */
  readonly files?: DocumentFiles;
  /** Milliseconds of a monotonic clock, for durations. */
  readonly steady: () => number;
  readonly timers: Timers;
  /** Aborted at shutdown. */
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly emit: Emit;
}

/** What loads, queues, keeps and checks models in memory, each made of those before it. */
export function createResidency(given: ResidencyParts) {
  const { slots, pins, observations, settings, kept, now, steady, timers, emit } = given;
  slots.on("status", () => {
    emit({ kind: "memory changed" });
    emit({ kind: "models changed", isListChanged: false });
  });
  const policies = createEvictionPolicies({ observations, isPinned: pins.isPinned });
  const estimates = createEstimates({ settings, inventory: given.inventory, now, ...(kept && { kept }) });
  const made = { ...given, policies, estimates };
  const plans = new Plans({ ...made, memory: () => settings().memory });
  const keepAlive = new KeepAlive({ ...made, plans });
  const loader = new Loader({ ...made, plans, keepAlive, bufferBytes: () => settings().memory.bufferBytes });
  const sequences = createMoreSequences({ slots, plans, emit, quickEstimate: estimates.quick });
  const queues = createRequestQueues({
    ...made,
    plans,
    loader,
    sequences,
    timers: { now: steady, after: timers.after },
  });
  return {
    slots,
    pins,
    estimates,
    plans,
    keepAlive,
    loader,
    queues,
    loads: createLoadOperations({ ...given, queues }),
    sequences,
    health: new Health({ ...given, probe: createTokenProbe(given) }),
    now,
  };
}

/** Background maintenance of loaded models. `contextTokensOf`: the context that a request would load a model with. */
export function createMaintenance(
  given: ResidencyParts &
    ReturnType<typeof createResidency> & { contextTokensOf(name: string, signal: AbortSignal): Promise<number> },
) {
  const loadInBackground = createLoadInBackground(given);
  const lost = createLostPins({ ...given, loadInBackground });
  const store = createOwnedModelsStore(given);
  const preload = createPreload({ ...given, loadInBackground });
  const polling = createPolling({ ...given, lost, store });
  return {
    /** Takes over the models that an earlier daemon left loaded, then preloads, except in a safe start. Never throws. */
    async start(isSafeStart: boolean): Promise<void> {
      await store.adopt(given.signal);
      const names = given.settings().model.keepAlive.preload;
      if (isSafeStart) preload.leaveOut(names);
      else await preload.run(names, given.signal);
    },
    wokeUp: polling.wokeUp,
    /** One sentence each, for the status. */
    problems: (): readonly string[] => [...given.health.problems(), ...lost.problems()],
    async close(): Promise<void> {
      polling.close();
      given.health.close();
      await store.close();
    },
  };
}

interface MaintenanceParts extends Pick<
  ResidencyParts,
  "inventory" | "slots" | "emit" | "settings" | "timers" | "now" | "log" | "signal"
> {
  readonly pins: Pick<Pins, "isPinned">;
  readonly loader: Pick<Loader, "expire">;
  readonly keepAlive: Pick<KeepAlive, "renew">;
  readonly health: Pick<Health, "checkAll">;
  readonly lost: ReturnType<typeof createLostPins>;
  readonly store: ReturnType<typeof createOwnedModelsStore>;
}

const pollIntervalMs = 20_000;
/** Delay of the first poll: a model that was just loaded is about to be used. */
const firstPollMs = 2_000;
/** Engines unload models slightly after the end of their keep-alive. */
const endSlackMs = 1_000;
/** A timer this late means that the machine slept, even if `wokeUp` was not called yet. */
const sleepGapMs = 30_000;

/**
 * Background maintenance of loaded models: polls the engines while a model of ours is loaded. Renews the keep-alive of
 * pinned models, unloads models that their engine should have unloaded, and detects what other programs do to our
 * models. Touches only loaded models, so that a touch never loads one.
 */
function createPolling(parts: MaintenanceParts) {
  const { inventory, slots, emit, settings, timers, now, log, signal, pins, loader, keepAlive, health, lost, store } =
    parts;
  let cancel: (() => void) | undefined;
  let awakeSinceMs = now();
  let wasDueAtMs: number | undefined;
  let polling: Promise<void> | undefined;

  /** A model of ours may have been loaded, or its keep-alive changed: saves it, and starts polling. */
  function begin(): void {
    store.changed();
    const untilDueMs = (wasDueAtMs ?? 0) - now();
    const isLate = cancel !== undefined && untilDueMs > firstPollMs;
    if (cancel === undefined && polling === undefined) schedule(firstPollMs);
    else if (isLate && hasUnseenPin()) schedule(firstPollMs);
    else if (isLate && nextPollMs() < untilDueMs) schedule(nextPollMs());
    // A change during a poll may have come too late for it.
    else if (cancel === undefined) void polling?.finally(() => cancel === undefined && schedule(firstPollMs));
  }

  function schedule(delayMs: number): void {
    if (signal.aborted) return;
    cancel?.();
    wasDueAtMs = now() + delayMs;
    cancel = timers.after(delayMs, () => {
      cancel = undefined;
      polling ??= poll().finally(() => (polling = undefined));
    });
  }

  /** Polls all engines once. Never throws. */
  async function poll(): Promise<void> {
    if (wasDueAtMs !== undefined && now() - wasDueAtMs > sleepGapMs) {
      awakeSinceMs = now();
      await attempt("checking the engines after a sleep", () => health.checkAll());
    }
    wasDueAtMs = undefined;
    for (const engine of inventory.engines) await attempt(`polling ${engine.id}`, () => pollEngine(engine));
    store.changed();
    // No timers while no model of ours is loaded.
    const isNeeded = (engine: Engine) => slots.owned(engine).length > 0 || lost.isExpecting(engine);
    if (inventory.engines.some(isNeeded)) schedule(nextPollMs());
  }

  async function pollEngine(engine: Engine): Promise<void> {
    const residents = await inventory.resident(engine, 0);
    if (inventory.isUnresponsive(engine)) return lost.wasUnresponsive(engine);
    for (const slot of slots.owned(engine)) {
      const { name, sentSeconds } = slot.ownedLoad;
      if (slot.isBusy || residents.some((model) => sameModel(model.name, name))) continue;
      // Pinned models are reported by `lost`.
      if (!slot.isPinned(name)) {
        const steps = [whyGone(engine.id, sentSeconds, now() - slot.lastActivityMs)];
        noteDecision(emit, { kind: "expire", model: name, engine: engine.id, steps });
      }
      slot.disown();
    }
    await lost.check(engine, residents, signal);
    if (engine.isPrivate !== true) await maintain(engine, residents);
  }

  async function maintain(engine: Engine, residents: readonly ResidentModel[]): Promise<void> {
    const models = residents.map((model) => slots.view(engine, model));
    const touchEveryMs = touchIntervalMs(settings().model.keepAlive.timeout);
    const plan = planMaintenance(models, { nowMs: now(), awakeSinceMs, touchEveryMs });
    for (const { name, isLosing } of plan.touch) {
      if (isLosing) {
        const steps = [`${engine.id} would have unloaded ${name}, which is pinned: keep-alive renewed`];
        noteDecision(emit, { kind: "touch", model: name, engine: engine.id, steps });
      }
      slots.of(engine, name).renewedAtMs = now();
      await attempt(`touching ${name}`, () => keepAlive.renew(engine, name, signal));
    }
    for (const name of plan.expire) await attempt(`unloading ${name}`, () => loader.expire(engine, name, signal));
  }

  async function attempt(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      throwIfCancelled(signal, what);
      await work();
    } catch (error) {
      if (!signal.aborted) log.warn(`maintenance: ${what}: ${messageOf(error)}`);
    }
  }

  /** At most until our next keep-alive ends; those that have ended already don't count. */
  function nextPollMs(): number {
    const ends = inventory.engines.flatMap((engine) =>
      slots.owned(engine).flatMap(({ ownedLoad: { sentSeconds = -1 }, lastActivityMs }) => {
        const endsInMs = lastActivityMs + sentSeconds * 1_000 - now();
        return sentSeconds < 0 || endsInMs <= 0 ? [] : [endsInMs + endSlackMs];
      }),
    );
    return Math.min(pollIntervalMs, ...ends);
  }

  /** The loss of a pinned model that no poll has seen would not be noticed. */
  function hasUnseenPin(): boolean {
    return inventory.engines.some((engine) =>
      slots.owned(engine).some(({ ownedLoad: { name } }) => pins.isPinned(name) && !lost.hasSeen(engine, name)),
    );
  }

  slots.on("owner", begin);
  return {
    /** The machine slept: that time doesn't count as idle. Checks the engines. Never throws. */
    async wokeUp(): Promise<void> {
      awakeSinceMs = now();
      if (wasDueAtMs !== undefined) wasDueAtMs = now() + pollIntervalMs;
      await health.checkAll();
    },
    close(): void {
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
