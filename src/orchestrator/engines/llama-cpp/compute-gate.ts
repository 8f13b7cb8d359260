import { Cancelled } from "../../api/errors.ts";

/** Runs one computation at a time, in order of arrival. */
export interface ComputeGate {
  /**
   * Runs `work` when all earlier work has ended. Rejects with `Cancelled` when `signal` aborts during the wait; running
   * work must handle the signal itself.
   */
  run<Result>(signal: AbortSignal, work: (waitedMs: number) => Promise<Result>): Promise<Result>;
}

/**
 * Two decoders that share cores are fifty times slower than one after the other (1.8 tok/s against 105 on 2 cores), so
 * all child processes compute through one gate.
 */
export function createComputeGate(now: () => number): ComputeGate {
  const waiting: (() => void)[] = [];
  let isTaken = false;

  function release(): void {
    const next = waiting.shift();
    if (next === undefined) isTaken = false;
    else next();
  }

  function enter(signal: AbortSignal): Promise<void> {
    const cancelled = () => new Cancelled("waiting for free cores was cancelled", { cause: signal.reason });
    if (signal.aborted) return Promise.reject(cancelled());
    if (!isTaken) {
      isTaken = true;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const open = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        waiting.splice(waiting.indexOf(open), 1);
        reject(cancelled());
      };
      waiting.push(open);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  return {
    async run(signal, work) {
      const calledAt = now();
      await enter(signal);
      try {
        return await work(now() - calledAt);
      } finally {
        release();
      }
    },
  };
}
