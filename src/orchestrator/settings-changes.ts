import type { Engine } from "./engines/engine.ts";
import type { Change } from "./facade.ts";
import type { Inventory } from "./inventory/inventory.ts";
import type { Loader } from "./loading/loader.ts";
import type { Observations } from "./observations/observations.ts";
import type { World } from "./world.ts";

/**
 * What new settings lead to beside being read: engines whose settings changed are replaced, how long models stay is told
 * to the others, and whoever watches is told. Until the answer is called.
 */
export function obeyChanges(parts: {
  readonly world: Pick<World, "settings" | "remakeEngines" | "log">;
  /** Answers those that are not asked any more. */
  readonly replaceEngines: (next: readonly Engine[]) => readonly Engine[];
  readonly inventory: Inventory;
  readonly observations: Observations;
  readonly loader: Loader;
  readonly publish: (change: Change) => void;
  readonly signal: AbortSignal;
}): () => void {
  const { world, inventory, observations, loader, publish } = parts;
  let before = world.settings.current();

  return world.settings.onChange((settings) => {
    const hasOtherTools = JSON.stringify(before.tools) !== JSON.stringify(settings.tools);
    before = settings;
    if (hasOtherTools) publish({ kind: "tools", isListChanged: true });
    const replaced = world.remakeEngines === undefined ? [] : parts.replaceEngines(world.remakeEngines(settings));
    for (const { id } of replaced) {
      world.log.info(`${id} was configured anew: what is under way ends with the one before`);
      observations.forgetEngine(id);
    }
    inventory.forgetAll();
    publish({ kind: "memory" });
    // What fits may be other models now, also where the engines are the same.
    publish({ kind: "models", isListChanged: replaced.length > 0 });
    void loader.refreshKeepAlive(parts.signal);
  });
}
