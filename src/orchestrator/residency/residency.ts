import type { Emit } from "../api/events.ts";
import type { Log } from "../api/log.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import type { Operations } from "../jobs/operations.ts";
import { createEstimates } from "./estimates.ts";
import type { KeptLearning } from "./kept-learning.ts";
import type { Observations } from "./observations.ts";
import type { MemoryProbe } from "../memory/measure/probe.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Timers } from "../util/timers.ts";
import { createBackgroundLoader, createPreload, createLostPins } from "./background-loader.ts";
import { createEvictionPolicies } from "./eviction-policies.ts";
import { Health, createTokenProbe } from "./health.ts";
import { KeepAlive, type Pins } from "./keep-alive.ts";
import { Loader } from "./loader.ts";
import { Maintenance } from "./maintenance.ts";
import { createMoreSequences } from "./more-sequences.ts";
import { createOwnedModelsStore } from "./owned-models-store.ts";
import { Plans } from "./plans.ts";
import { LoadOperations, RequestQueues } from "./request-queues.ts";
import type { Slots } from "./slots.ts";

interface ResidencyParts {
  readonly slots: Slots;
  readonly pins: Pins;
  readonly inventory: Inventory;
  readonly operations: Operations;
  readonly observations: Observations;
  readonly probe: MemoryProbe;
  /** Called on each use. */
  readonly settings: () => Settings;
  /** Engines that were replaced and still have active requests. */
  readonly leaving: () => readonly Engine[];
  /** Absent: what is learned is lost when this process ends. */
  readonly kept: KeptLearning | undefined;
  /** Storage of the loaded models; absent: they are forgotten with the process. */
  readonly files?: DocumentFiles;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
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
  const queues = new RequestQueues({ ...made, plans, loader, sequences, timers: { now: steady, after: timers.after } });
  return {
    slots,
    pins,
    estimates,
    plans,
    keepAlive,
    loader,
    queues,
    loads: new LoadOperations({ ...given, queues }),
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
  const backgroundLoader = createBackgroundLoader(given);
  const lost = createLostPins({ ...given, backgroundLoader });
  const store = createOwnedModelsStore(given);
  const preload = createPreload({ ...given, backgroundLoader });
  const maintenance = new Maintenance({ ...given, lost, store });
  return {
    /** Takes over the models that an earlier daemon left loaded, then preloads, except in a safe start. Never throws. */
    async start(isSafeStart: boolean): Promise<void> {
      await store.adopt(given.signal);
      const names = given.settings().model.keepAlive.preload;
      if (isSafeStart) preload.leaveOut(names);
      else await preload.run(names, given.signal);
    },
    wokeUp: () => maintenance.wokeUp(),
    /** One sentence each, for the status. */
    problems: (): readonly string[] => [...given.health.problems(), ...lost.problems()],
    async close(): Promise<void> {
      maintenance.close();
      given.health.close();
      await store.close();
    },
  };
}
