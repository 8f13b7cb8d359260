import type { Log } from "../../orchestrator/api/log.ts";
import type { Operation } from "../../orchestrator/api/types.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";

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

/** Notifies a connection's client when the offered tools differ from those it has listed. */
export interface ToolWatch<Facts> {
  /** The client has listed these; `facts` are those of its request. */
  listed(names: readonly string[], facts: Facts): void;
  /** Called when the tools may have changed. A client that has listed none is notified only if `isCertain`. */
  recheck(isCertain?: boolean): void;
  close(): void;
}

/** A caller's view of settings and files may be this old: a client notified earlier could list the old tools. */
const settleMs = 1_200;

/** `offered` returns the tools that are offered now; when it fails, the client is not notified. */
export function createToolWatch<Facts>(parts: {
  readonly offered: (facts: Facts) => Promise<readonly string[]>;
  readonly tell: () => Promise<void>;
  /** Runs `action` once after `delayMs` without keeping the process alive; the returned function cancels it. */
  readonly after: (delayMs: number, action: () => void) => () => void;
  readonly log: Log;
}): ToolWatch<Facts> {
  let known: { readonly names: string; readonly facts: Facts } | undefined;
  let cancelTimer = (): void => undefined;
  let isClosed = false;

  /** Returns whether the client was notified. */
  async function check(isCertain: boolean): Promise<boolean> {
    if (isClosed) return false;
    if (known === undefined) {
      if (isCertain) await parts.tell();
      return isCertain;
    }
    const { facts, names } = known;
    const now = (await parts.offered(facts)).join(" ");
    if (now === names || isClosed) return false;
    // One notification per difference, whether or not the client lists again.
    known = { facts, names: now };
    await parts.tell();
    return true;
  }

  const failed = (error: unknown): void => parts.log.debug(`tools/list_changed: ${String(error)}`);

  return {
    listed(names, facts) {
      known = { names: names.join(" "), facts };
    },
    recheck(isCertain = false) {
      check(isCertain).then((isTold) => {
        if (isTold || !isCertain || isClosed) return;
        cancelTimer();
        cancelTimer = parts.after(settleMs, () => void check(true).catch(failed));
      }, failed);
    },
    close() {
      isClosed = true;
      cancelTimer();
    },
  };
}
