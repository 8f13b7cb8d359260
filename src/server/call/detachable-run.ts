import type { Operation } from "../../orchestrator/api/types.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";
import { callEnd } from "./call.ts";

/** How a run ended for its call. */
type Ended<Answer> = { readonly answer: Answer } | { readonly detached: Operation<unknown> };

/**
 * A tool run that its call may detach from, so that the run continues as a background job: when `patienceMs` have passed
 * (undefined: never) and it waits for an operation, or when the client disconnects during a pull, which continues
 * regardless. Any other end of the call ends the run.
 */
export class DetachableRun {
  readonly #call: AbortSignal;
  readonly #own = new AbortController();
  readonly #stopClock: (() => void) | undefined;
  #current: Operation<unknown> | undefined;
  #isOverdue = false;
  #detached: Operation<unknown> | undefined;
  #onDetached: ((operation: Operation<unknown>) => void) | undefined;

  /** `signal` is the request's own. */
  constructor(options: {
    readonly signal: AbortSignal;
    readonly patienceMs: number | undefined;
    readonly timers: Timers;
  }) {
    const { signal, patienceMs, timers } = options;
    this.#call = signal;
    if (patienceMs !== undefined) {
      this.#stopClock = timers.after(patienceMs, () => {
        this.#isOverdue = true;
        if (this.#current !== undefined && !this.#own.signal.aborted) this.#detach(this.#current);
      });
    }
    signal.addEventListener("abort", this.#onAbort, { once: true });
    if (signal.aborted) this.#onAbort();
  }

  /** The run's own: aborts, with a `CallEnd`, with the call while attached, and never once detached. */
  get signal(): AbortSignal {
    return this.#own.signal;
  }

  /** The run waits for this operation now. */
  followed(operation: Operation<unknown>): void {
    this.#current = operation;
    if (this.#detached !== undefined) operation.detach();
    else if (this.#isOverdue) this.#detach(operation);
  }

  /** Resolves with the answer, or with the operation to adopt as a job when the run is detached before. */
  ended<Answer>(answer: Promise<Answer>): Promise<Ended<Answer>> {
    return new Promise((resolve, reject) => {
      this.#onDetached = (detached) => resolve({ detached });
      if (this.#detached !== undefined) resolve({ detached: this.#detached });
      answer.then((given) => resolve({ answer: given }), reject);
    });
  }

  /** The call is answered: stops the clock. */
  end(): void {
    this.#stopClock?.();
    if (this.#detached === undefined) this.#call.removeEventListener("abort", this.#onAbort);
  }

  #detach(operation: Operation<unknown>): void {
    this.#detached = operation;
    this.#call.removeEventListener("abort", this.#onAbort);
    this.#onDetached?.(operation);
  }

  readonly #onAbort = (): void => {
    const end = callEnd(this.#call);
    if (end === "disconnected" && this.#current?.kind === "pull") this.#detach(this.#current);
    else this.#own.abort(end);
  };
}
