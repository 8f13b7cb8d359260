import { setImmediate as nextTurn } from "node:timers/promises";

/** Short enough that nobody notices, long enough that the turns themselves cost nothing. */
const longestMs = 8;

/**
 * For work of many small steps, which would hold up every other call of the process: asked after each step, it answers
 * with something to wait for when others are to have their turn, `undefined` as a rule.
 */
export function createTurns(): () => Promise<unknown> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < longestMs) return undefined;
    return nextTurn().then(() => (since = performance.now()));
  };
}
