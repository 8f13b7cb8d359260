import type { Timers } from "../util/timers.ts";
import type { Settings } from "../config/schema.ts";
import type { Decisions } from "./decisions.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { Inventory } from "../models/inventory.ts";
import { createLiveness, type Liveness } from "./liveness.ts";
import { createTokenProbe } from "./token-probe.ts";
import { createOwnedModelsStore } from "./owned-models-store.ts";
import type { Loader } from "./loader.ts";
import { createLostPins } from "./lost-pins.ts";
import { createPreload } from "./preload.ts";
import { createBackgroundLoader } from "./background-loader.ts";
import { createMaintenance } from "./maintenance.ts";
import type { Log } from "../api/log.ts";

/** Background maintenance of loaded models, and health checks of their engines. */
export interface Lifecycle {
  readonly liveness: Liveness;
  /** Takes over the models that an earlier daemon left loaded, then preloads, except in a safe start. Never throws. */
  start(isSafeStart: boolean): Promise<void>;
  /** A model of ours may have been loaded, or its keep-alive changed. */
  changed(): void;
  /** Call after a sleep, before keep-alives are checked. Never throws. */
  wokeUp(): Promise<void>;
  /** One sentence each, for the status. */
  problems(): readonly string[];
  close(): Promise<void>;
}

export function createLifecycle(parts: {
  readonly inventory: Inventory;
  readonly loader: Loader;
  readonly decisions: Decisions;
  readonly settings: () => Settings;
  readonly contextTokensOf: (name: string, signal: AbortSignal) => Promise<number>;
  readonly files?: DocumentFiles;
  readonly timers: Timers;
  readonly now: () => number;
  readonly log: Log;
  readonly statusChanged: () => void;
  /** Aborts all background work. */
  readonly signal: AbortSignal;
}): Lifecycle {
  const { inventory, loader, settings, timers, signal } = parts;
  const probe = createTokenProbe({ inventory, loader, timers, signal });
  const liveness = createLiveness({
    probe,
    timers,
    log: parts.log,
    changed: parts.statusChanged,
    setStuck: (engine, why) => inventory.setStuck(engine, why),
  });
  const backgroundLoader = createBackgroundLoader(parts);
  const lost = createLostPins({ ...parts, backgroundLoader });
  const ownedStore = createOwnedModelsStore({
    ...parts,
    owned: () => loader.maintenance.owned,
    refresh: loader.refreshKeepAlive,
  });
  const preload = createPreload({ ...parts, backgroundLoader });
  const afterSleep = () => liveness.checkAll(inventory.engines);
  const maintenance = createMaintenance({ ...parts, lost, polled: () => ownedStore.changed(), afterSleep });

  return {
    liveness,
    async start(isSafeStart) {
      await ownedStore.adopt(signal);
      const names = settings().model.keepAlive.preload;
      if (isSafeStart) preload.leaveOut(names);
      else await preload.run(names, signal);
    },
    changed() {
      ownedStore.changed();
      maintenance.begin();
    },
    async wokeUp() {
      maintenance.wokeUp();
      await afterSleep();
    },
    problems: () => [...liveness.problems(inventory.engines), ...lost.problems()],
    async close() {
      maintenance.close();
      liveness.close();
      await ownedStore.close();
    },
  };
}
