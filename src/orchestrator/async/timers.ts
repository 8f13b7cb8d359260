/** The clock and its alarms, as an argument: tests turn it by hand. */
export interface Timers {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Runs `action` once after `delayMs`; the answer stops it. */
  after(delayMs: number, action: () => void): () => void;
}

/** The real timers; unref'ed, because something that waits for its turn must not keep the process alive. */
export const systemTimers: Timers = {
  now: () => performance.now(),
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
