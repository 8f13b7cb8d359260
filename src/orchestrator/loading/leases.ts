/** Protects a loaded model from eviction until released. Idempotent. */
export interface Lease {
  release(): void;
}

/**
 * Who uses which model, and who waits for one to be let go of. Keys name engine and model; a model is taken while any of
 * its slot is (`Runners.slotOf`).
 */
export interface Leases {
  /** Without `isUse` its end is not told. */
  take(id: string, isUse?: boolean): Lease;
  isTaken(id: string): boolean;
  count(id: string): number;
  /** Whether it is used by this name. */
  isTakenItself(id: string): boolean;
  /** Resolves at the next `wake`: subscribe before looking. */
  nextRelease(): Promise<void>;
  /** Whoever waits looks again. */
  wake(): void;
}

/** `onRelease` is called at the end of a use, before those that wait are woken; `onWake` with them. */
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
    // Compared at each look: which models share a slot may be known only after one was taken.
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

/** Waits for `released`, or the abort; and no longer than 2 s, since another program may free memory without a word. */
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
