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

interface Bound {
  readonly ms: number;
  /** Ends the wait, like the time. */
  readonly signal?: AbortSignal;
  /** Absent: a timer that keeps the process alive. */
  readonly timers?: Pick<Timers, "after">;
}

/** The longest delay of a timer. */
const maxMs = 2 ** 31 - 1;

/**
 * The result of `work`; if it takes longer than the bound, that of `late`, which may throw. The signal that `work` gets
 * aborts then. It has a timer of its own: in Node 20 an `AbortSignal.timeout` that only `AbortSignal.any` refers to may be
 * collected before it fires.
 */
export async function within<Value, Late>(
  { ms, signal: outer, timers }: Bound,
  work: (signal: AbortSignal) => PromiseLike<Value>,
  late: () => Late,
): Promise<Value | Late> {
  const own = new AbortController();
  let end: () => void = () => undefined;
  const over = new Promise<Late>((resolve, reject) => {
    end = () => {
      try {
        resolve(late());
      } catch (error) {
        reject(error);
      }
      // Only now: what `work` does about it must not win the race.
      own.abort(outer?.aborted === true ? outer.reason : new Error(`it took longer than ${ms} ms`));
    };
  });
  // It is not waited for if `work` throws at once.
  over.catch(() => undefined);
  const delayMs = Math.min(ms, maxMs);
  const timer = timers === undefined ? setTimeout(end, delayMs) : timers.after(delayMs, end);
  outer?.addEventListener("abort", end, { once: true });
  if (outer?.aborted === true) end();
  try {
    return await Promise.race([over, work(own.signal)]);
  } finally {
    if (typeof timer === "function") timer();
    else clearTimeout(timer);
    outer?.removeEventListener("abort", end);
  }
}
