import type { Timers } from "../../orchestrator/util/timers.ts";
import type { Operation } from "../../orchestrator/api/types.ts";

/** A tool run that its call may detach from, so that the run continues as a background job. */
export interface DetachableRun {
  /** The run's own: aborts with the call while attached, and never once detached. */
  readonly signal: AbortSignal;
  /** The run waits for this operation now. */
  followed(operation: Operation<unknown>): void;
  /** Resolves with the operation to adopt as a job when the run is detached; never rejects. */
  readonly detached: Promise<Operation<unknown>>;
  /** The call is answered: stops the clock. */
  end(): void;
}

/**
 * A run is detached when `patienceMs` have passed (undefined: never) and it waits for an operation, or when the client
 * disconnects during a pull, which continues regardless. Any other end of the call ends the run.
 */
export function createDetachableRun(options: {
  readonly signal: AbortSignal;
  readonly patienceMs: number | undefined;
  readonly timers: Timers;
}): DetachableRun {
  const { signal, patienceMs, timers } = options;
  const run = new AbortController();
  let current: Operation<unknown> | undefined;
  let isOverdue = false;
  let isDetached = false;
  let onDetached: (operation: Operation<unknown>) => void = () => undefined;
  const detached = new Promise<Operation<unknown>>((resolve) => (onDetached = resolve));

  function detach(operation: Operation<unknown>): void {
    isDetached = true;
    signal.removeEventListener("abort", onAbort);
    onDetached(operation);
  }
  function onAbort(): void {
    if (signal.reason === "disconnected" && current?.kind === "pull") detach(current);
    else run.abort(signal.reason);
  }

  const stopClock =
    patienceMs === undefined
      ? () => undefined
      : timers.after(patienceMs, () => {
          isOverdue = true;
          if (current !== undefined && !run.signal.aborted) detach(current);
        });
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();

  return {
    signal: run.signal,
    detached,
    followed(operation) {
      current = operation;
      if (isDetached) operation.detach();
      else if (isOverdue) detach(operation);
    },
    end() {
      stopClock();
      if (!isDetached) signal.removeEventListener("abort", onAbort);
    },
  };
}
