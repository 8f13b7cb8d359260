import type { Engine } from "../engines/engine.ts";

/**
 * Names what an engine's models run on: its id and address. One without an address is told from every other, and not
 * found again after a restart.
 */
export function createHostKeys(): (engine: Engine) => string {
  const numbers = new WeakMap<Engine, number>();
  let last = 0;
  return (engine) => {
    if (engine.address !== undefined) return `${engine.id} ${engine.address}`;
    const number = numbers.get(engine) ?? (last += 1);
    numbers.set(engine, number);
    return `${engine.id} #${number}`;
  };
}
