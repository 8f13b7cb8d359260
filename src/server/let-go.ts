import type { Timers } from "../orchestrator/async/timers.ts";
import type { Operation } from "../orchestrator/types.ts";

/** The tie between a call and the run of its tool, which the call may leave behind. */
export interface Tie {
  /** The run's own: aborts as the call does while they are tied, and never again once the call has let go. */
  readonly signal: AbortSignal;
  /** The run waits for this operation now. */
  followed(operation: Operation<unknown>): void;
  /** Resolves with the operation to be adopted when the call is to let go; never rejects. */
  readonly letGo: Promise<Operation<unknown>>;
  /** The call is answered: stops the clock. */
  end(): void;
}

/**
 * A call lets go of its run when `patienceMs` are over (never: undefined) and there is an operation to let go of, or
 * when its host vanishes in the middle of a pull, which is wanted all the same. Any other end of the call ends the run.
 */
export function createTie(options: {
  readonly signal: AbortSignal;
  readonly patienceMs: number | undefined;
  readonly timers: Timers;
}): Tie {
  const { signal, patienceMs, timers } = options;
  const run = new AbortController();
  let current: Operation<unknown> | undefined;
  let isOverdue = false;
  let isLetGo = false;
  let release: (operation: Operation<unknown>) => void = () => undefined;
  const letGo = new Promise<Operation<unknown>>((resolve) => (release = resolve));

  function leave(operation: Operation<unknown>): void {
    isLetGo = true;
    signal.removeEventListener("abort", onAbort);
    release(operation);
  }
  function onAbort(): void {
    if (signal.reason === "disconnected" && current?.kind === "pull") leave(current);
    else run.abort(signal.reason);
  }

  const stopClock =
    patienceMs === undefined
      ? () => undefined
      : timers.after(patienceMs, () => {
          isOverdue = true;
          if (current !== undefined && !run.signal.aborted) leave(current);
        });
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();

  return {
    signal: run.signal,
    letGo,
    followed(operation) {
      current = operation;
      if (isLetGo) operation.detach();
      else if (isOverdue) leave(operation);
    },
    end() {
      stopClock();
      if (!isLetGo) signal.removeEventListener("abort", onAbort);
    },
  };
}
