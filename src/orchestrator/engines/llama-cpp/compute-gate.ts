import { Cancelled } from "../../errors.ts";

/** Lets one computation of the machine run at a time, first come first served. */
export interface ComputeGate {
  /**
   * Runs `work` when all before it have ended. Rejects with `Cancelled` when `signal` aborts while it waits; what runs
   * already must watch the signal itself.
   */
  run<Result>(signal: AbortSignal, work: (waitedMs: number) => Promise<Result>): Promise<Result>;
}

/**
 * Two decoders that share cores are fifty times slower than one after the other (1.8 tok/s against 105 on 2 cores), so
 * whatever computes goes through one gate, over all children.
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
      const askedAt = now();
      await enter(signal);
      try {
        return await work(now() - askedAt);
      } finally {
        release();
      }
    },
  };
}
