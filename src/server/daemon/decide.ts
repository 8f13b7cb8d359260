/** The work of a daemon at a moment. */
export interface Business {
  readonly clients: number;
  readonly listeners: number;
  /** Requests without an answer. */
  readonly requests: number;
  /** From `Orchestrator.activity()`, as the next two. */
  readonly operations: number;
  readonly pulls: number;
  readonly pinned: number;
}

/** Whether a daemon has no work and no clients. */
export function isIdle({ clients, listeners, operations, pinned }: Business): boolean {
  return clients + listeners + operations + pinned === 0;
}

/** How long a daemon that was asked to hand over continues to work normally. */
export const handoverPatienceMs = 10 * 60_000;
/** How long it then waits for running requests, without reading new ones. */
export const handoverDrainMs = 60_000;

/**
 * What a daemon does `elapsedMs` after it was asked to hand over:
 *
 * | running requests and work   | elapsed              | step                                    |
 * |-----------------------------|----------------------|-----------------------------------------|
 * | none                        | any                  | `go`                                    |
 * | some                        | up to 10 min         | `work`                                  |
 * | some                        | up to a minute later | `drain`: no new requests are read       |
 * | some                        | later                | `go`: running work is interrupted       |
 *
 * Pulls don't delay it: the next daemon resumes them.
 */
export function handoverStep(business: Business, elapsedMs: number): "work" | "drain" | "go" {
  if (business.requests === 0 && business.operations - business.pulls === 0) return "go";
  if (elapsedMs < handoverPatienceMs) return "work";
  return elapsedMs < handoverPatienceMs + handoverDrainMs ? "drain" : "go";
}

/** A timer that fires this much later by wall-clock time means that the machine slept. */
const sleepGapMs = 30_000;

export function hasSlept(everyMs: number, elapsedWallMs: number): boolean {
  return elapsedWallMs - everyMs > sleepGapMs;
}
