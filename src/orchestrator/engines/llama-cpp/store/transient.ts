import { ExponentialBackoff, type IBackoff } from "cockatiel";
import { setTimeout as delay } from "node:timers/promises";

/**
 * A fault that may be over a moment later. `unreachable`: no connection; `interrupted`: an answer stopped; `busy`: the
 * server asks to wait. Handled in this folder: after the last attempt it becomes `PullFailed`.
 */
export class TransientFault extends Error {
  readonly kind: "unreachable" | "interrupted" | "busy";

  constructor(kind: TransientFault["kind"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "TransientFault";
    this.kind = kind;
  }
}

export interface RetryOptions {
  /** Further attempts after the first one, in a row without progress. */
  readonly retries: number;
  readonly initialDelayMs: number;
  readonly maxDelayMs: number;
}

export interface RetryWork<Result> {
  attempt(): Promise<Result>;
  /** Measures progress; an attempt that adds `worthwhile` to it resets the number of retries. */
  achieved(): number;
  readonly worthwhile: number;
  isWorthRetrying(fault: TransientFault): boolean;
  onRetry(fault: TransientFault, retry: number): void;
}

/**
 * Repeats `attempt` while it fails with a `TransientFault`, waiting longer each time (decorrelated jitter). cockatiel's
 * own retry policy is not used because its waits can't be aborted; an abort here rejects at once with an AbortError.
 */
export async function retryTransient<Result>(
  work: RetryWork<Result>,
  options: RetryOptions,
  signal: AbortSignal,
): Promise<Result> {
  const delays = new ExponentialBackoff({ initialDelay: options.initialDelayMs, maxDelay: options.maxDelayMs });
  let retry = 0;
  let backoff: IBackoff<unknown> | undefined;
  for (;;) {
    const achievedBefore = work.achieved();
    try {
      return await work.attempt();
    } catch (error) {
      if (!(error instanceof TransientFault) || !work.isWorthRetrying(error)) throw error;
      if (work.achieved() - achievedBefore >= work.worthwhile) {
        retry = 0;
        backoff = undefined;
      }
      if (retry >= options.retries) throw error;
      retry += 1;
      work.onRetry(error, retry);
      backoff = backoff === undefined ? delays.next() : backoff.next(undefined);
      await delay(backoff.duration, undefined, { signal });
    }
  }
}
