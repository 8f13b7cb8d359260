import type { Engine } from "../engines/engine.ts";
import type { Change } from "../facade.ts";
import type { Inventory } from "../inventory/inventory.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import { modelId } from "../inventory/model-id.ts";
import type { Log } from "../log.ts";
import { sameModel } from "../store/model-name.ts";
import { defaultContextTokens } from "../memory/context-size.ts";
import type { ResidentModel } from "../types.ts";
import type { Keeping } from "./pins.ts";
import type { OwnLoads } from "./owned-models.ts";
import type { Telling } from "./keep-alive.ts";

/** How long what is in memory stays there: what engines are told after a load. */
export interface Stays {
  /** Tells the engine how long a model in memory stays now; one that isn't there is told when it is loaded. */
  tell(engine: Engine, name: string, signal: AbortSignal): Promise<void>;
  /** Pins it or lets go of it; where it is in memory its engine is told. Throws `InvalidRequest` where pins are off. */
  setPinned(located: LocatedModel, isPinned: boolean, signal: AbortSignal): Promise<void>;
  /** Pinned models in memory, as the last looks at the engines saw them. */
  pinnedCount(): number;
  /** Settings changed: engines are told of models loaded here what they would be told now. Never throws. */
  follow(signal: AbortSignal): Promise<void>;
  /**
   * Unloads what was loaded here, from those of the engines (all of them) that live on after us. Never throws: what
   * stays leaves in its own time.
   */
  unloadOwn(signal: AbortSignal, engines?: readonly Engine[]): Promise<void>;
}

/** Ollama's own default. */
const partingSeconds = 300;

export function createStays(parts: {
  readonly inventory: Inventory;
  readonly keeping: Keeping;
  readonly telling: Pick<Telling, "ofLoad" | "isStale">;
  readonly ours: OwnLoads;
  readonly isEvicting: (id: string) => boolean;
  /** Whether it, or what shares its process, is pinned. */
  readonly isKept: (engine: Engine, name: string) => boolean;
  /** Alone among the plans and evictions of a memory domain. */
  readonly inTurn: (memoryDomain: string, work: () => Promise<void>) => Promise<void>;
  readonly log: Log;
  readonly publish: (change: Change) => void;
}): Stays {
  const { inventory, keeping, telling, ours, log } = parts;

  async function tell(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
    const names = inventory.runners.namesOf(engine, name);
    const isIt = (model: ResidentModel) => names.some((each) => sameModel(model.name, each));
    const resident = (await inventory.resident(engine, 0)).find(isIt);
    const own = resident && ours.of(engine, resident.name);
    const told = telling.ofLoad(engine, name, own?.asked);
    const contextTokens = resident?.contextTokens ?? defaultContextTokens;
    if (resident === undefined || told === undefined || parts.isEvicting(modelId(engine.id, resident.name))) return;
    // A load of what is loaded is cheap and only restarts its time.
    await engine.residency?.load(resident.name, { contextTokens, keepAliveSeconds: told }, () => undefined, signal);
    if (own !== undefined) ours.note(engine, { ...own, told });
    inventory.forgetResidency(engine);
  }

  /** What somebody else uses as well stays, but not for ever on our account. */
  async function leave(engine: Engine, { name, contextTokens }: ResidentModel, signal: AbortSignal): Promise<void> {
    const own = ours.of(engine, name);
    if (!ours.isForeign(engine, name)) {
      await engine.residency?.unload(name, signal);
      return ours.forget(engine, name);
    }
    if (own?.told === undefined || own.told >= 0 || contextTokens === undefined) return;
    await engine.residency?.load(name, { contextTokens, keepAliveSeconds: partingSeconds }, () => undefined, signal);
  }

  return {
    tell,

    async setPinned(located, isPinned, signal) {
      const { engine, model } = located;
      if (isPinned) keeping.pin(model.name);
      else keeping.release(model.name);
      // What else its process answers for is known from here on.
      await inventory.residentOf(located, 0);
      // Nothing is evicted meanwhile: it would be loaded again.
      await parts.inTurn(engine.memoryDomain, () => tell(engine, model.name, signal));
      parts.publish({ kind: "memory" });
      parts.publish({ kind: "models", isListChanged: false });
    },

    pinnedCount: () =>
      inventory.engines.flatMap((engine) =>
        inventory.lastResident(engine).filter(({ name }) => parts.isKept(engine, name)),
      ).length,

    async follow(signal) {
      for (const engine of inventory.engines) {
        const stale = ours.all(engine).filter(telling.isStale);
        for (const { name } of stale) {
          await parts
            .inTurn(engine.memoryDomain, () => tell(engine, name, signal))
            .catch((error: unknown) =>
              log.warn(`how long ${name} stays: ${error instanceof Error ? error.message : String(error)}`),
            );
        }
      }
    },

    async unloadOwn(signal, engines = inventory.engines) {
      // The embedded engine's models go with its processes.
      const lasting = engines.filter(({ kind }) => kind !== "llama-cpp");
      const work = lasting.map(async (engine) => {
        const resident = (await engine.residency?.loaded(signal)) ?? [];
        const own = resident.filter(({ name }) => ours.of(engine, name) !== undefined);
        await Promise.all(own.map((model) => leave(engine, model, signal)));
      });
      for (const result of await Promise.allSettled(work)) {
        if (result.status === "rejected") log.debug(`unloading at the end: ${String(result.reason)}`);
      }
    },
  };
}
