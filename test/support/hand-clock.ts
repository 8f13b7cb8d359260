import type { Timers } from "../../src/orchestrator/util/timers.ts";

/** Timers that a test advances. */
export interface HandClock extends Timers {
  advance(ms: number): void;
  /** Timers that have not fired. */
  readonly waiting: number;
}

export function handClock(): HandClock {
  let nowMs = 0;
  let timers: { atMs: number; action: () => void }[] = [];
  return {
    now: () => nowMs,
    after(delayMs, action) {
      const timer = { atMs: nowMs + delayMs, action };
      timers.push(timer);
      return () => {
        timers = timers.filter((each) => each !== timer);
      };
    },
    get waiting() {
      return timers.length;
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const [next] = timers.filter(({ atMs }) => atMs <= untilMs).toSorted((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        nowMs = next.atMs;
        timers = timers.filter((each) => each !== next);
        next.action();
      }
      nowMs = untilMs;
    },
  };
}
