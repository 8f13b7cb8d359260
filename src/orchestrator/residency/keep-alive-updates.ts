import type { Change } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import type { ResidentModel } from "../api/types.ts";
import type { Engine } from "../engines/engine.ts";
import { defaultContextTokens } from "../memory/reading.ts";
import type { Inventory } from "../models/inventory.ts";
import { type LocatedModel, modelId } from "../models/located-model.ts";
import { sameModel } from "../util/model-name.ts";
import type { KeepAlive } from "./keep-alive.ts";
import type { OwnedModels } from "./owned-models.ts";
import type { Pins } from "./pins.ts";

/** Applies pins and changed keep-alives to loaded models, and unloads our models at exit. */
export interface KeepAliveUpdates {
  /** Sends the current keep-alive of a loaded model; does nothing if it isn't loaded. */
  apply(engine: Engine, name: string, signal: AbortSignal): Promise<void>;
  /** Pins or unpins a model; applied at once if it is loaded. Throws `InvalidRequest` if the settings disable pins. */
  setPinned(located: LocatedModel, isPinned: boolean, signal: AbortSignal): Promise<void>;
  /** Number of pinned models in memory as of the last poll of the engines. */
  pinnedCount(): number;
  /** After a change of settings: sends the new keep-alives of models that this program loaded. Never throws. */
  refresh(signal: AbortSignal): Promise<void>;
  /**
   * Unloads models that this program loaded from those of `engines` (default: all) that outlive it. Never throws: a
   * model that could not be unloaded leaves when its keep-alive ends.
   */
  unloadOwned(signal: AbortSignal, engines?: readonly Engine[]): Promise<void>;
}

/** Ollama's default keep-alive. */
const exitSeconds = 300;

export function createKeepAliveUpdates(parts: {
  readonly inventory: Inventory;
  readonly pins: Pins;
  readonly keepAlive: Pick<KeepAlive, "forLoad" | "isStale">;
  readonly owned: OwnedModels;
  readonly isEvicting: (id: string) => boolean;
  /** Whether the model, or another name served by its process, is pinned. */
  readonly isRunnerPinned: (engine: Engine, name: string) => boolean;
  /** Mutual exclusion with the plans and evictions of a memory domain. */
  readonly inTurn: (memoryDomain: string, work: () => Promise<void>) => Promise<void>;
  readonly log: Log;
  readonly publish: (change: Change) => void;
}): KeepAliveUpdates {
  const { inventory, pins, keepAlive, owned, log } = parts;

  async function apply(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    const names = inventory.runners.namesOf(engine, name);
    const isIt = (model: ResidentModel) => names.some((each) => sameModel(model.name, each));
    const resident = (await inventory.resident(engine, 0)).find(isIt);
    const own = resident && owned.of(engine, resident.name);
    const sentSeconds = keepAlive.forLoad(engine, name, own?.requestedSeconds);
    const contextTokens = resident?.contextTokens ?? defaultContextTokens;
    if (resident === undefined || sentSeconds === undefined || parts.isEvicting(modelId(engine.id, resident.name)))
      return;
    // A load request for a loaded model only restarts its keep-alive.
    await engine.residency?.load(
      resident.name,
      { contextTokens, keepAliveSeconds: sentSeconds },
      () => undefined,
      signal,
    );
    if (own !== undefined) owned.note(engine, { ...own, sentSeconds });
    inventory.forgetResidency(engine);
  }

  /** Unloads the model, or, if another program uses it too, only ends our pin. */
  async function unloadOrUnpin(
    engine: Engine,
    { name, contextTokens }: ResidentModel,
    signal: AbortSignal,
  ): Promise<void> {
    const own = owned.of(engine, name);
    if (!owned.isForeign(engine, name)) {
      await engine.residency?.unload(name, signal);
      return owned.forget(engine, name);
    }
    if (own?.sentSeconds === undefined || own.sentSeconds >= 0 || contextTokens === undefined) return;
    await engine.residency?.load(name, { contextTokens, keepAliveSeconds: exitSeconds }, () => undefined, signal);
  }

  return {
    apply,

    async setPinned(located, isPinned, signal) {
      const { engine, model } = located;
      if (isPinned) pins.pin(model.name);
      else pins.unpin(model.name);
      // Also finds the other names that its process serves.
      await inventory.residentOf(located, 0);
      // Excludes evictions: the request would load an evicted model again.
      await parts.inTurn(engine.memoryDomain, () => apply(engine, model.name, signal));
      parts.publish({ kind: "memory" });
      parts.publish({ kind: "models", isListChanged: false });
    },

    pinnedCount: () =>
      inventory.engines.flatMap((engine) =>
        inventory.lastResident(engine).filter(({ name }) => parts.isRunnerPinned(engine, name)),
      ).length,

    async refresh(signal) {
      for (const engine of inventory.engines) {
        const stale = owned.all(engine).filter(keepAlive.isStale);
        for (const { name } of stale) {
          await parts
            .inTurn(engine.memoryDomain, () => apply(engine, name, signal))
            .catch((error: unknown) =>
              log.warn(`keep-alive: ${name}: ${error instanceof Error ? error.message : String(error)}`),
            );
        }
      }
    },

    async unloadOwned(signal, engines = inventory.engines) {
      // Models of private engines end with this process.
      const servers = engines.filter(({ isPrivate }) => isPrivate !== true);
      const work = servers.map(async (engine) => {
        const resident = (await engine.residency?.loaded(signal)) ?? [];
        const own = resident.filter(({ name }) => owned.of(engine, name) !== undefined);
        await Promise.all(own.map((model) => unloadOrUnpin(engine, model, signal)));
      });
      for (const result of await Promise.allSettled(work)) {
        if (result.status === "rejected") log.debug(`shutdown: models were not unloaded: ${String(result.reason)}`);
      }
    },
  };
}
