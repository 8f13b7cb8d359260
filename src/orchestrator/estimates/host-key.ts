import type { Engine } from "../engines/engine.ts";
import { engineKey } from "../inventory/engine-key.ts";

/**
 * Names what an engine's models run on: its kind and address. One without an address is told from every other, and not
 * found again after a restart.
 */
export function createHostKeys(): (engine: Engine) => string {
  const numbers = new WeakMap<Engine, number>();
  let last = 0;
  return (engine) => {
    const key = engineKey(engine);
    if (key !== undefined) return key;
    const number = numbers.get(engine) ?? (last += 1);
    numbers.set(engine, number);
    return `${engine.id} #${number}`;
  };
}
