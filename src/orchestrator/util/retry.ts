import { ExponentialBackoff, type IBackoff } from "cockatiel";
import { setTimeout as delay } from "node:timers/promises";

export interface RetryOptions {
  /** Further attempts after the first one, in a row without progress. */
  readonly retries: number;
  readonly initialDelayMs: number;
  readonly maxDelayMs: number;
}

/**
 * Repeats `attempt` while it fails with a fault, waiting longer each time (decorrelated jitter). cockatiel's own retry
 * policy is not used because its waits can't be aborted; an abort here rejects at once with an AbortError.
 */
export async function retrying<Result, Fault>(
  work: {
    attempt(): Promise<Result>;
    /** The error as one that may be over a moment later; undefined: it is thrown. */
    faultOf(error: unknown): Fault | undefined;
    onRetry(fault: Fault, retry: number): void;
    /** Measures progress; an attempt that adds `worthwhile` to it resets the number of retries. */
    readonly progress?: { achieved(): number; readonly worthwhile: number };
  },
  options: RetryOptions,
  signal: AbortSignal,
): Promise<Result> {
  const { progress } = work;
  let retry = 0;
  let backoff: IBackoff<unknown> | undefined;
  for (;;) {
    const achievedBefore = progress?.achieved() ?? 0;
    try {
      return await work.attempt();
    } catch (error) {
      const fault = work.faultOf(error);
      if (fault === undefined) throw error;
      if (progress !== undefined && progress.achieved() - achievedBefore >= progress.worthwhile) {
        retry = 0;
        backoff = undefined;
      }
      if (retry >= options.retries) throw error;
      retry += 1;
      work.onRetry(fault, retry);
      backoff =
        backoff === undefined
          ? new ExponentialBackoff({ initialDelay: options.initialDelayMs, maxDelay: options.maxDelayMs }).next()
          : backoff.next(undefined);
      await delay(backoff.duration, undefined, { signal });
    }
  }
}
