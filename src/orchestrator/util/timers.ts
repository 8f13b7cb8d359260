/** Clock and timers as an argument, so that tests can control them. */
export interface Timers {
  /** Milliseconds, monotonic. */
  now(): number;
  /** Runs `action` once after `delayMs`. Returns a function that cancels it. */
  after(delayMs: number, action: () => void): () => void;
}

/** The system's timers, unref'ed so that they don't keep the process alive. */
export const systemTimers: Timers = {
  now: performance.now.bind(performance),
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
