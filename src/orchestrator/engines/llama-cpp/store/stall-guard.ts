import { TransientFault } from "./transient.ts";

/** Aborts a transfer in which nothing arrives for too long, or whose caller aborts. */
export interface StallGuard {
  /** Aborted with a `TransientFault` after a stall, and with the caller's reason by the caller. */
  readonly signal: AbortSignal;
  /** Restarts the timer: something arrived. */
  touch(): void;
  /** Stops the timer until the next `touch`: we are not waiting for the other side. */
  pause(): void;
  close(): void;
}

export function createStallGuard(timeoutMs: number, what: string, callerSignal: AbortSignal): StallGuard {
  const controller = new AbortController();
  const onCallerAbort = () => controller.abort(callerSignal.reason);
  if (callerSignal.aborted) onCallerAbort();
  callerSignal.addEventListener("abort", onCallerAbort, { once: true });
  let timer: NodeJS.Timeout | undefined;
  const onStall = () =>
    controller.abort(new TransientFault("interrupted", `${what} sent nothing for ${timeoutMs / 1000} s`));
  const guard: StallGuard = {
    signal: controller.signal,
    touch() {
      clearTimeout(timer);
      timer = setTimeout(onStall, timeoutMs);
    },
    pause: () => clearTimeout(timer),
    close() {
      clearTimeout(timer);
      callerSignal.removeEventListener("abort", onCallerAbort);
    },
  };
  guard.touch();
  return guard;
}
