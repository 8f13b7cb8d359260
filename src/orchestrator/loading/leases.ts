/** Protects a loaded model from eviction until released. Idempotent. */
export interface Lease {
  release(): void;
}

/** Who uses which model, and who waits for one to be let go of. Keys name engine and model. */
export interface Leases {
  /** Without `isUse` its end is not told. */
  take(id: string, isUse?: boolean): Lease;
  isTaken(id: string): boolean;
  count(id: string): number;
  /** Resolves at the next `wake`: subscribe before looking. */
  nextRelease(): Promise<void>;
  /** Whoever waits looks again. */
  wake(): void;
}

/** `onRelease` is called at the end of a use, before those that wait are woken; `onWake` with them. */
export function createLeases(onRelease: (id: string) => void, onWake: () => void): Leases {
  const counts = new Map<string, number>();
  let waiters: (() => void)[] = [];

  function wake(): void {
    const woken = waiters;
    waiters = [];
    for (const waiter of woken) waiter();
    onWake();
  }

  return {
    take(id, isUse = true) {
      counts.set(id, (counts.get(id) ?? 0) + 1);
      let isReleased = false;
      return {
        release() {
          if (isReleased) return;
          isReleased = true;
          counts.set(id, (counts.get(id) ?? 1) - 1);
          if (isUse) onRelease(id);
          wake();
        },
      };
    },
    isTaken: (id) => (counts.get(id) ?? 0) > 0,
    count: (id) => counts.get(id) ?? 0,
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
