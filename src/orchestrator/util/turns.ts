import { setImmediate as nextTurn } from "node:timers/promises";

/** Longest time without a turn of the event loop: short enough for latency, long enough for throughput. */
const longestMs = 8;

/**
 * For work of many small synchronous steps. Call the returned function after each step: it returns a promise to await
 * when the event loop should get a turn, and usually `undefined`.
 */
export function createTurns(): () => Promise<unknown> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < longestMs) return undefined;
    return nextTurn().then(() => (since = performance.now()));
  };
}
