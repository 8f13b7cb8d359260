import type { Engine } from "../../engines/engine.ts";
import { engineKey } from "../../models/engine-key.ts";

/**
 * Identifies the host of an engine by kind and address. An engine without an address gets a unique key, which is not
 * valid after a restart.
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
