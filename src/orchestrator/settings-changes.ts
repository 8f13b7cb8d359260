import type { Engine } from "./engines/engine.ts";
import type { Change } from "./api/facade.ts";
import type { Inventory } from "./models/inventory.ts";
import type { KeepAlive } from "./residency/keep-alive.ts";
import type { Observations } from "./memory/measure/observations.ts";
import type { World } from "./world.ts";

/**
 * Applies changed settings: replaces engines whose settings changed, updates the keep-alives of loaded models, and
 * publishes changes. Returns a function that ends this.
 */
export function applyChanges(parts: {
  readonly world: Pick<World, "settings" | "remakeEngines" | "log">;
  /** Returns the engines that were replaced. */
  readonly replaceEngines: (next: readonly Engine[]) => readonly Engine[];
  readonly inventory: Inventory;
  readonly observations: Observations;
  readonly keepAlive: Pick<KeepAlive, "refresh">;
  readonly publish: (change: Change) => void;
  readonly signal: AbortSignal;
}): () => void {
  const { world, inventory, observations, keepAlive, publish } = parts;
  let before = world.settings.current();

  return world.settings.onChange((settings) => {
    const hasOtherTools = JSON.stringify(before.tools) !== JSON.stringify(settings.tools);
    before = settings;
    if (hasOtherTools) publish({ kind: "tools", isListChanged: true });
    const replaced = world.remakeEngines === undefined ? [] : parts.replaceEngines(world.remakeEngines(settings));
    for (const { id } of replaced) {
      world.log.info(`settings: ${id} was replaced; running requests finish on the previous one`);
      observations.forgetEngine(id);
    }
    inventory.forgetAll();
    publish({ kind: "memory" });
    // Which models fit may have changed, even with the same engines.
    publish({ kind: "models", isListChanged: replaced.length > 0 });
    void keepAlive.refresh(parts.signal);
  });
}
