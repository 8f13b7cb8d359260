import type { Engine } from "../engines/engine.ts";
import type { Change } from "../facade.ts";
import type { Inventory } from "../inventory/inventory.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Log } from "../log.ts";
import { sameModel } from "../store/model-name.ts";
import { defaultContextTokens } from "../memory/context-size.ts";
import type { ResidentModel } from "../types.ts";
import type { Pins } from "./pins.ts";
import type { OwnedModels } from "./owned-models.ts";
import type { KeepAlive } from "./keep-alive.ts";

/** How long what is in memory stays there: what engines are told after a load. */
export interface KeepAliveUpdates {
  /** Tells the engine how long a model in memory stays now; one that isn't there is told when it is loaded. */
  apply(engine: Engine, name: string, signal: AbortSignal): Promise<void>;
  /** Pins it or lets go of it; where it is in memory its engine is told. Throws `InvalidRequest` where pins are off. */
  setPinned(located: LocatedModel, isPinned: boolean, signal: AbortSignal): Promise<void>;
  /** Pinned models in memory, as the last looks at the engines saw them. */
  pinnedCount(): number;
  /** Settings changed: engines are told of models loaded here what they would be told now. Never throws. */
  refresh(signal: AbortSignal): Promise<void>;
  /**
   * Unloads what was loaded here, from those of the engines (all of them) that live on after us. Never throws: what
   * stays leaves in its own time.
   */
  unloadOwned(signal: AbortSignal, engines?: readonly Engine[]): Promise<void>;
}

/** Ollama's own default. */
const exitSeconds = 300;

export function createKeepAliveUpdates(parts: {
  readonly inventory: Inventory;
  readonly pins: Pins;
  readonly keepAlive: Pick<KeepAlive, "forLoad" | "isStale">;
  readonly owned: OwnedModels;
  readonly isEvicting: (id: string) => boolean;
  /** Whether it, or what shares its process, is pinned. */
  readonly isRunnerPinned: (engine: Engine, name: string) => boolean;
  /** Alone among the plans and evictions of a memory domain. */
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
    const told = keepAlive.forLoad(engine, name, own?.asked);
    const contextTokens = resident?.contextTokens ?? defaultContextTokens;
    if (resident === undefined || told === undefined || parts.isEvicting(modelId(engine.id, resident.name))) return;
    // A load of what is loaded is cheap and only restarts its time.
    await engine.residency?.load(resident.name, { contextTokens, keepAliveSeconds: told }, () => undefined, signal);
    if (own !== undefined) owned.note(engine, { ...own, told });
    inventory.forgetResidency(engine);
  }

  /** What somebody else uses as well stays, but not for ever on our account. */
  async function unloadOrRelease(
    engine: Engine,
    { name, contextTokens }: ResidentModel,
    signal: AbortSignal,
  ): Promise<void> {
    const own = owned.of(engine, name);
    if (!owned.isForeign(engine, name)) {
      await engine.residency?.unload(name, signal);
      return owned.forget(engine, name);
    }
    if (own?.told === undefined || own.told >= 0 || contextTokens === undefined) return;
    await engine.residency?.load(name, { contextTokens, keepAliveSeconds: exitSeconds }, () => undefined, signal);
  }

  return {
    apply,

    async setPinned(located, isPinned, signal) {
      const { engine, model } = located;
      if (isPinned) pins.pin(model.name);
      else pins.unpin(model.name);
      // What else its process answers for is known from here on.
      await inventory.residentOf(located, 0);
      // Nothing is evicted meanwhile: it would be loaded again.
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
              log.warn(`how long ${name} stays: ${error instanceof Error ? error.message : String(error)}`),
            );
        }
      }
    },

    async unloadOwned(signal, engines = inventory.engines) {
      // The embedded engine's models go with its processes.
      const lasting = engines.filter(({ kind }) => kind !== "llama-cpp");
      const work = lasting.map(async (engine) => {
        const resident = (await engine.residency?.loaded(signal)) ?? [];
        const own = resident.filter(({ name }) => owned.of(engine, name) !== undefined);
        await Promise.all(own.map((model) => unloadOrRelease(engine, model, signal)));
      });
      for (const result of await Promise.allSettled(work)) {
        if (result.status === "rejected") log.debug(`unloading at the end: ${String(result.reason)}`);
      }
    },
  };
}
