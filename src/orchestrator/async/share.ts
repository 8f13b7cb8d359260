import { Cancelled } from "../errors.ts";

type Listener<Event> = (event: Event) => void;

interface Shared<Event, Result> {
  readonly outcome: Promise<Result>;
  readonly controller: AbortController;
  readonly listeners: Set<Listener<Event>>;
  newest: { readonly event: Event } | undefined;
}

/** Joins the work under way for `key`, or starts it. Aborted work is waited for, so none is left behind. */
export type Share<Event, Result> = (
  key: string,
  start: (emit: Listener<Event>, signal: AbortSignal) => Promise<Result>,
  listener: Listener<Event>,
  signal: AbortSignal,
) => Promise<Result>;

/**
 * One piece of work for everybody who asks for the same thing at the same time. Who joins hears the newest event at
 * once. An aborted asker gets `Cancelled`; the work itself is aborted with the last one.
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
    // Deferred by one turn, so that whoever starts it listens to its first event.
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
