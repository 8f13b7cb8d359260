/** Protects a loaded model from eviction until released. Idempotent. */
export interface Lease {
  release(): void;
}

/**
 * Counts the users of each model, and wakes callers that wait for a release. Ids are `modelId`s; a model is taken while
 * any model of its slot is (`Runners.slotOf`).
 */
export interface Leases {
  /** Without `isUse` the release is not reported to `onRelease`. */
  take(id: string, isUse?: boolean): Lease;
  isTaken(id: string): boolean;
  count(id: string): number;
  /** Whether it is taken by this name; leases by other names of its slot don't count. */
  isTakenItself(id: string): boolean;
  /** Resolves at the next `wake`: call it before reading the state. */
  nextRelease(): Promise<void>;
  /** Resolves all pending `nextRelease`s. */
  wake(): void;
}

/** `onRelease` is called at the end of a use, before the waiters are woken; `onWake` after them. */
export function createLeases(
  onRelease: (id: string) => void,
  onWake: () => void,
  slotOf: (id: string) => string = (id) => id,
): Leases {
  const counts = new Map<string, number>();
  let waiters: (() => void)[] = [];

  function wake(): void {
    const woken = waiters;
    waiters = [];
    for (const waiter of woken) waiter();
    onWake();
  }

  function count(id: string): number {
    let sum = 0;
    // Compared on each call: which models share a slot may become known after one was taken.
    for (const [other, taken] of counts) if (other === id || slotOf(other) === slotOf(id)) sum += taken;
    return sum;
  }

  return {
    take(id, isUse = true) {
      counts.set(id, (counts.get(id) ?? 0) + 1);
      let isReleased = false;
      return {
        release() {
          if (isReleased) return;
          isReleased = true;
          const left = (counts.get(id) ?? 1) - 1;
          if (left > 0) counts.set(id, left);
          else counts.delete(id);
          if (isUse) onRelease(id);
          wake();
        },
      };
    },
    isTaken: (id) => count(id) > 0,
    count,
    isTakenItself: (id) => counts.has(id),
    nextRelease: () => new Promise<void>((resolve) => waiters.push(resolve)),
    wake,
  };
}

/** Waits for `released` or the abort, at most 2 s: memory freed by another program is not reported. */
export async function untilReleased(released: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  const wokenOtherwise = new Promise<void>((resolve) => {
    onAbort = resolve;
    signal.addEventListener("abort", onAbort, { once: true });
    timer = setTimeout(resolve, 2_000);
  });
  await Promise.race([released, wokenOtherwise]);
  clearTimeout(timer);
  if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
}
