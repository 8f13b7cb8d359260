import { Cancelled } from "../api/errors.ts";
import { setMaxListeners } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";

/** Starts the work of a `JoinedWork`; `emit` tells its followers what happens. */
type Work<Result, Event> = (signal: AbortSignal, emit: (event: Event) => void) => Promise<Result>;

/** One run of some work that several calls wait for. It is aborted when the last of them leaves. */
export class JoinedWork<Result, Event = never> {
  /** Resolves when the work has ended in any way. */
  readonly settled: Promise<void>;
  readonly outcome: Promise<Result>;
  readonly #what: string;
  readonly #isKept: (reason: unknown) => boolean;
  readonly #controller = new AbortController();
  readonly #followers = new Set<{ readonly onEvent: ((event: Event) => void) | undefined }>();
  #newest: { readonly event: Event } | undefined;
  #isRunning = true;

  /**
   * `what` is for the error of a follower that leaves: `pull smollm2:135m`. `isKept` decides whether the work continues
   * when its last follower leaves for a reason. The work starts in a microtask, so that the caller can follow before the
   * first event.
   */
  constructor(what: string, work: Work<Result, Event>, isKept: (reason: unknown) => boolean = () => false) {
    this.#what = what;
    this.#isKept = isKept;
    const { signal } = this.#controller;
    this.outcome = Promise.resolve().then(() => {
      if (signal.aborted) throw this.#cancelled(signal.reason);
      return work(signal, (event) => {
        this.#newest = { event };
        for (const { onEvent } of this.#followers) onEvent?.(event);
      });
    });
    const ended = (): void => void (this.#isRunning = false);
    this.settled = this.outcome.then(ended, ended);
  }

  get isAborted(): boolean {
    return this.#controller.signal.aborted;
  }

  get hasFollowers(): boolean {
    return this.#followers.size > 0;
  }

  /** The newest event. */
  get newest(): Event | undefined {
    return this.#newest?.event;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Waits for the outcome. Gets the newest event at once, then all others. Rejects with `Cancelled` when `signal` aborts. */
  follow(signal: AbortSignal, onEvent?: (event: Event) => void): Promise<Result> {
    // A call that asks for the facts of a dozen models at once would look like a leak.
    setMaxListeners(0, signal);
    // An object of its own, because two calls may pass one function.
    const follower = { onEvent };
    this.#followers.add(follower);
    if (this.#newest !== undefined) onEvent?.(this.#newest.event);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        signal.removeEventListener("abort", onAbort);
        this.#followers.delete(follower);
      };
      const onAbort = (): void => {
        leave();
        reject(this.#cancelled(signal.reason));
        const isLast = !this.hasFollowers && this.#isRunning;
        if (isLast && !this.#isKept(signal.reason)) this.abort(signal.reason);
      };
      void this.settled.then(() => {
        leave();
        resolve(this.outcome);
      });
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #cancelled(reason: unknown): Cancelled {
    return new Cancelled(`${this.#what} was cancelled`, { cause: reason });
  }
}

/** Work that is joined by key: of concurrent calls with one key, the first starts the work of all. */
export class JoinedWorks<Result, Event = never> {
  readonly #what: string;
  readonly #running = new Map<string, JoinedWork<Result, Event>>();

  constructor(what: string) {
    this.#what = what;
  }

  /**
   * Joins the work of `key`, or starts it; aborted work is waited for and started again. A call whose abort ends the work
   * rejects when it has ended.
   */
  async join(
    key: string,
    work: Work<Result, Event>,
    signal: AbortSignal,
    onEvent?: (event: Event) => void,
  ): Promise<Result> {
    for (;;) {
      if (signal.aborted) throw new Cancelled(`${this.#what} was cancelled`, { cause: signal.reason });
      const joined = this.#running.get(key) ?? this.#start(key, work);
      if (joined.isAborted) {
        await joined.settled;
        continue;
      }
      try {
        return await joined.follow(signal, onEvent);
      } catch (error) {
        if (signal.aborted && joined.isAborted) await joined.settled;
        throw error;
      }
    }
  }

  #start(key: string, work: Work<Result, Event>): JoinedWork<Result, Event> {
    const end = (): void => {
      if (this.#running.get(key) === started) this.#running.delete(key);
    };
    // Before its followers learn the outcome: then the next call starts the work again.
    const started = new JoinedWork<Result, Event>(this.#what, (...given) => work(...given).finally(end));
    this.#running.set(key, started);
    // It may be aborted before it starts.
    void started.settled.then(end);
    return started;
  }
}

/** Tracks running calls, so that a resource can be closed after them. */
export function createUnderWay() {
  const running = new Set<Promise<unknown>>();
  return {
    /** Tracks `work` until it ends. Returns it. */
    count<Result>(work: Promise<Result>): Promise<Result> {
      running.add(work);
      const forget = (): void => void running.delete(work);
      work.then(forget, forget);
      return work;
    },
    /** Resolves when all calls that are running now have settled; later ones are not waited for. */
    async settled() {
      await Promise.allSettled(running);
    },
  };
}

/** Longest time without a turn of the event loop: short enough for latency, long enough for throughput. */
const longestMs = 8;

/**
 * For work of many small synchronous steps. Call the returned function after each step: it returns a promise to await
 * when the event loop should get a turn, and usually `undefined`.
 */
export function createTurns(): () => Promise<unknown> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < longestMs) return undefined;
    return nextTurn().then(() => (since = performance.now()));
  };
}

/** Runs one task at a time, in call order. */
export type Mutex = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** A task that fails does not affect the next. Waiting can't be cancelled: a task checks its own signal first. */
export function createMutex(): Mutex {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}
