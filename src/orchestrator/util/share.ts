import { Cancelled } from "../api/errors.ts";

type Listener<Event> = (event: Event) => void;

interface Shared<Event, Result> {
  readonly outcome: Promise<Result>;
  readonly controller: AbortController;
  readonly listeners: Set<Listener<Event>>;
  newest: { readonly event: Event } | undefined;
}

/** Joins the running work for `key`, or starts it. Waits for aborted work to end before it starts again. */
export type Share<Event, Result> = (
  key: string,
  start: (emit: Listener<Event>, signal: AbortSignal) => Promise<Result>,
  listener: Listener<Event>,
  signal: AbortSignal,
) => Promise<Result>;

/**
 * Shares one run of a task among concurrent callers with the same key. A caller that joins gets the newest event at
 * once. A caller that aborts gets `Cancelled`; the work itself is aborted with its last caller.
 */
export function createShare<Event, Result>(what: string): Share<Event, Result> {
  const running = new Map<string, Shared<Event, Result>>();

  const begin = (key: string, start: Parameters<Share<Event, Result>>[1]): Shared<Event, Result> => {
    const controller = new AbortController();
    const listeners = new Set<Listener<Event>>();
    const emit = (event: Event) => {
      shared.newest = { event };
      for (const listener of listeners) listener(event);
    };
    // Deferred, so that the first caller gets the first event.
    const outcome = Promise.resolve()
      .then(() => start(emit, controller.signal))
      .finally(() => running.delete(key));
    const shared: Shared<Event, Result> = { outcome, controller, listeners, newest: undefined };
    running.set(key, shared);
    return shared;
  };

  const follow = async (
    shared: Shared<Event, Result>,
    listener: Listener<Event>,
    signal: AbortSignal,
  ): Promise<Result> => {
    const own: Listener<Event> = (event) => listener(event);
    shared.listeners.add(own);
    if (shared.newest !== undefined) own(shared.newest.event);
    let onAbort = () => {};
    const aborted = new Promise<never>((_resolve, reject) => {
      onAbort = () => {
        shared.listeners.delete(own);
        const rejectCancelled = () => reject(new Cancelled(`${what} was cancelled`, { cause: signal.reason }));
        if (shared.listeners.size > 0) return rejectCancelled();
        shared.controller.abort(signal.reason);
        void shared.outcome.then(rejectCancelled, rejectCancelled);
      };
    });
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([shared.outcome, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      shared.listeners.delete(own);
    }
  };

  return async (key, start, listener, signal) => {
    for (;;) {
      if (signal.aborted) throw new Cancelled(`${what} was cancelled`, { cause: signal.reason });
      const shared = running.get(key);
      if (shared === undefined) return follow(begin(key, start), listener, signal);
      if (!shared.controller.signal.aborted) return follow(shared, listener, signal);
      await shared.outcome.catch(() => undefined);
    }
  };
}
