/** What a daemon has to do, apart from how it ends. */
export interface Business {
  readonly clients: number;
  readonly listeners: number;
  /** Requests that wait for their answer. */
  readonly requests: number;
  /** As `Orchestrator.activity()` says. */
  readonly operations: number;
  readonly pulls: number;
  readonly pinned: number;
}

/** Whether anything keeps a daemon that nobody has told to end. */
export function isIdle({ clients, listeners, operations, pinned }: Business): boolean {
  return clients + listeners + operations + pinned === 0;
}

/** How long a daemon that is to hand over works on as if nothing were. */
export const handoverPatienceMs = 10 * 60_000;
/** How long it then waits, without reading new requests, for those under way. */
export const handoverDrainMs = 60_000;

/**
 * What a daemon does that was asked to hand over `elapsedMs` ago:
 *
 * | requests and work under way | elapsed              | step                                    |
 * |-----------------------------|----------------------|-----------------------------------------|
 * | none                        | any                  | `go`                                    |
 * | some                        | up to 10 min         | `work`                                  |
 * | some                        | up to a minute later | `drain`: new requests are read no more  |
 * | some                        | later                | `go`: what runs is cut                  |
 *
 * Pulls don't hold it up: the next daemon takes them up where they were.
 */
export function handoverStep(business: Business, elapsedMs: number): "work" | "drain" | "go" {
  if (business.requests === 0 && business.operations - business.pulls === 0) return "go";
  if (elapsedMs < handoverPatienceMs) return "work";
  return elapsedMs < handoverPatienceMs + handoverDrainMs ? "drain" : "go";
}

/** A timer of `everyMs` that fires so much later by the clock on the wall means that the machine slept. */
const sleepGapMs = 30_000;

export function hasSlept(everyMs: number, elapsedWallMs: number): boolean {
  return elapsedWallMs - everyMs > sleepGapMs;
}
