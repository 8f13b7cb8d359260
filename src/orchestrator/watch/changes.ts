import type { Event, EventOf, Events } from "../api/events.ts";
import type { Change } from "../api/facade.ts";
import type { Log } from "../api/log.ts";
import { messageOf, stackOf, getOrInsert, once } from "../util/values.ts";
import type { Timers } from "../util/timers.ts";

/** The events that subscribers of resources and the page's stream hear of, and what they read again then. */
const changes = {
  "requests changed": () => ({ kind: "requests" }),
  "decision taken": () => ({ kind: "decisions" }),
  "listed models changed": ({ isListChanged }) => ({ kind: "models", isListChanged }),
  "models changed": ({ isListChanged }) => ({ kind: "models", isListChanged }),
  "memory changed": () => ({ kind: "memory" }),
  "figures changed": () => ({ kind: "metrics" }),
  "memories changed": ({ isListChanged }) => ({ kind: "memories", isListChanged }),
  "templates changed": () => ({ kind: "templates", isListChanged: true }),
  "settings changed": () => ({ kind: "tools", isListChanged: true }),
  "job changed": ({ id, isListChanged }) => ({ kind: "job", id, isListChanged }),
} satisfies { readonly [Kind in Event["kind"]]?: (event: EventOf<Kind>) => Change };
const heard = Object.keys(changes) as (keyof typeof changes)[];

/** Minimum interval between changes of one subject: subscribers read everything again at each change. */
const intervalMs = 300;

/** The memory, the models or one job, until 300 ms after its last reported change. */
interface Subject {
  /** Changes since then, merged into one. */
  pending: Change | undefined;
}

interface ChangesParts {
  readonly events: Events;
  readonly timers: Timers;
  readonly log: Log;
  /** Samples the memory and lists the loaded models; returns the available bytes. */
  readonly pollMemory: () => Promise<number>;
  /** Refreshes the lists of the engines' models, which reports what differs. */
  readonly pollModels: () => Promise<unknown>;
}

/** What subscribers of resources and the page's stream are told of. */
export function watchChanges(parts: ChangesParts) {
  const subscriptions = createSubscriptions(parts);
  const polls = createPolls(parts);
  return {
    /** Returns a function that ends the subscription. An exception of a listener is logged and does not affect others. */
    subscribe: subscriptions.subscribe,
    /**
     * Polls what other programs may change every few seconds until the returned function is called. All who watch the
     * same share one poll.
     */
    watch: polls.watch,
    close: polls.close,
  };
}

/**
 * Tells the first change of a subject (the memory, the models, one job) at once, and further changes within 300 ms as one
 * at the end of that interval. The last change is always told, and `isListChanged` is never lost. Listens to events only
 * while it has subscribers.
 */
function createSubscriptions({ events, timers, log }: ChangesParts) {
  const listeners = new Set<(change: Change) => void>();
  const subjects = new Map<string, Subject>();
  let unsubscribe = (): void => undefined;

  function notify(change: Change): void {
    for (const listener of listeners) {
      try {
        listener(change);
      } catch (error) {
        log.warn(`changes: ${stackOf(error)}`);
      }
    }
  }

  function turn(key: string, subject: Subject): void {
    const { pending } = subject;
    if (pending === undefined) {
      // Removed when idle, so that subjects of old jobs don't accumulate.
      subjects.delete(key);
      return;
    }
    subject.pending = undefined;
    notify(pending);
    timers.after(intervalMs, () => turn(key, subject));
  }

  function report(change: Change): void {
    const key = change.kind === "job" ? `job ${change.id}` : change.kind;
    const known = subjects.get(key);
    if (known !== undefined) {
      known.pending = merged(known.pending, change);
      return;
    }
    const subject: Subject = { pending: change };
    subjects.set(key, subject);
    turn(key, subject);
  }

  return {
    subscribe(listener: (change: Change) => void): () => void {
      // Wrapped, because the same listener may subscribe twice.
      const own = (change: Change): void => listener(change);
      if (listeners.size === 0) unsubscribe = events.on(heard, (event) => report(changes[event.kind](event as never)));
      listeners.add(own);
      return () => {
        if (listeners.delete(own) && listeners.size === 0) unsubscribe();
      };
    },
  };
}

function merged(before: Change | undefined, after: Change): Change {
  // Both are of one subject and so of one kind.
  const isListChanged = before !== undefined && "isListChanged" in before && before.isListChanged;
  return isListChanged ? ({ ...after, isListChanged } as Change) : after;
}

const pollMs = 3_000;
/** Smaller changes of the free memory are noise. */
const notableBytes = 256 * 1024 ** 2;
const notableShare = 0.05;

/** Whether free memory changed enough to report: by 5 % of what was reported last, or by 256 MiB. */
export function isNotable(reportedBytes: number, nowBytes: number): boolean {
  const movedBytes = Math.abs(nowBytes - reportedBytes);
  return movedBytes >= Math.min(notableBytes, reportedBytes * notableShare) && movedBytes > 0;
}

/** What other programs may change: the free memory, and the models of engines. */
function createPolls({ events, timers, log, pollMemory, pollModels }: ChangesParts) {
  function watchMemory(): () => void {
    let reportedBytes: number | undefined;
    return repeat(async () => {
      const availableBytes = await pollMemory();
      const isReported = reportedBytes !== undefined && isNotable(reportedBytes, availableBytes);
      if (isReported) events.emit({ kind: "memory changed" });
      if (isReported || reportedBytes === undefined) reportedBytes = availableBytes;
    });
  }

  /** Runs `poll` at once and then 3 s after each end; a failed poll is repeated like any other. */
  function repeat(poll: () => Promise<unknown>): () => void {
    let isStopped = false;
    let cancel: () => void = () => undefined;
    const turn = (): void => {
      poll()
        .catch((error: unknown) => log.debug(`watch: ${messageOf(error)}`))
        .finally(() => {
          if (!isStopped) cancel = timers.after(pollMs, turn);
        });
    };
    turn();
    return () => {
      isStopped = true;
      cancel();
    };
  }

  const start = { memory: watchMemory, models: () => repeat(pollModels) };
  const watches = new Map<"memory" | "models", { count: number; readonly stop: () => void }>();

  return {
    watch(what: "memory" | "models"): () => void {
      const shared = getOrInsert(watches, what, () => ({ count: 0, stop: start[what]() }));
      shared.count += 1;
      return once(() => {
        shared.count -= 1;
        if (shared.count > 0 || watches.get(what) !== shared) return;
        watches.delete(what);
        shared.stop();
      });
    },
    close(): void {
      for (const { stop } of watches.values()) stop();
      watches.clear();
    },
  };
}
