import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleAll } from "cockatiel";
import type { OrchestratorError } from "../api/errors.ts";
import type { CircuitBreaker } from "./observations.ts";

/** How long other models are preferred after a failure. */
const coolDownMs = 30_000;
/** A server that asks for more is asked again after this. */
const maxRetryAfterMs = 24 * 3_600_000;

/**
 * Opened by a failure; half-open after 30 s, or later if the server asked for it; closed by a success, which discards it.
 * Loaded on the first failure of a process.
 */
export class Breaker implements CircuitBreaker {
  readonly #now: () => number;
  readonly #policy;
  #because = "";
  #failedAtMs = 0;
  #untilMs = 0;
  #obeyUntilMs = 0;

  /** `now` in milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
    const isWaiting = () => this.#isBefore(this.#untilMs);
    // cockatiel compares a duration with the system's clock; this one lasts until ours says so.
    const backoff = {
      get duration() {
        return isWaiting() ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
      },
      next: () => backoff,
    };
    this.#policy = circuitBreaker(handleAll, { breaker: new ConsecutiveBreaker(1), halfOpenAfter: backoff });
  }

  async failed({ message, retryAfterMs = 0 }: Pick<OrchestratorError, "message" | "retryAfterMs">): Promise<void> {
    const nowMs = this.#now();
    const obeyUntilMs = this.#isBefore(this.#obeyUntilMs) ? this.#obeyUntilMs : nowMs;
    this.#because = message;
    this.#failedAtMs = nowMs;
    this.#obeyUntilMs = Math.max(obeyUntilMs, nowMs + Math.min(retryAfterMs, maxRetryAfterMs));
    this.#untilMs = Math.max(nowMs + coolDownMs, this.#obeyUntilMs);
    // An open one stays open until then.
    if (this.#policy.state === CircuitState.Closed) {
      const failure = () => Promise.reject(new Error(message));
      await this.#policy.execute(failure).catch(() => undefined);
    }
  }

  get coolDown(): CircuitBreaker["coolDown"] {
    const { state } = this.#policy;
    if (state === CircuitState.Closed) return undefined;
    if (state === CircuitState.HalfOpen) return { because: `${this.#because}; another request is trying it again` };
    if (!this.#isBefore(this.#untilMs)) return undefined;
    const nowMs = this.#now();
    const mustWaitMs = this.#obeyUntilMs - nowMs;
    return {
      because: `${this.#because}; tried again in ${wait(this.#untilMs - nowMs)}`,
      ...(mustWaitMs > 0 && { mustWaitMs }),
    };
  }

  run<Result>(work: () => Promise<Result>): Promise<Result> {
    // A request that nothing else can answer is sent all the same, also beside the trial.
    return this.coolDown === undefined ? this.#policy.execute(work) : work();
  }

  /** Setting the clock back ends a wait: it must not be prolonged. */
  #isBefore(untilMs: number): boolean {
    const nowMs = this.#now();
    return nowMs >= this.#failedAtMs && nowMs < untilMs;
  }
}

/** `20 s`, `15 min`. */
function wait(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}
