import { Cancelled } from "../errors.ts";

/** Lets one through at a time, first come first served. `lock` answers the unlock function (idempotent). */
export function createMutex(): { lock(signal: AbortSignal): Promise<() => void> } {
  let tail: Promise<void> = Promise.resolve();
  return {
    async lock(signal) {
      const before = tail;
      let open: () => void = () => undefined;
      tail = new Promise((resolve) => {
        open = resolve;
      });
      await before;
      if (signal.aborted) {
        open();
        throw new Cancelled("waiting for memory was cancelled", { cause: signal.reason });
      }
      return open;
    },
  };
}
