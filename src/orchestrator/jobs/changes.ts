import type { Timers } from "../util/timers.ts";
import type { Change } from "../api/facade.ts";
import type { Log } from "../api/log.ts";

/** Publishes changes of the orchestrator to subscribers. */
export interface Changes {
  /** Call it after the change, so that subscribers that read again see it. Nearly free without subscribers. */
  publish(change: Change): void;
  /** Returns a function that ends the subscription. An exception of a listener is logged and does not affect others. */
  subscribe(listener: (change: Change) => void): () => void;
  /** Whether there are subscribers; without any, work that only detects changes can be skipped. */
  hasSubscribers(): boolean;
}

/** Minimum interval between changes of one subject: subscribers read everything again at each change. */
const intervalMs = 300;

/** The memory, the models or one job, until 300 ms after its last published change. */
interface Subject {
  /** Changes since then, merged into one. */
  pending: Change | undefined;
}

/**
 * Publishes the first change of a subject (the memory, the models, one job) at once, and further changes within 300 ms
 * as one at the end of that interval. The last change is always published, and `isListChanged` is never lost.
 */
export function createChanges(timers: Timers, log: Log): Changes {
  const listeners = new Set<(change: Change) => void>();
  const subjects = new Map<string, Subject>();

  function notify(change: Change): void {
    for (const listener of listeners) {
      try {
        listener(change);
      } catch (error) {
        log.warn(`changes: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
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

  return {
    publish(change) {
      if (listeners.size === 0) return;
      const key = change.kind === "job" ? `job ${change.id}` : change.kind;
      const known = subjects.get(key);
      if (known !== undefined) {
        known.pending = merged(known.pending, change);
        return;
      }
      const subject: Subject = { pending: change };
      subjects.set(key, subject);
      turn(key, subject);
    },
    subscribe(listener) {
      // Wrapped, because the same listener may subscribe twice.
      const own = (change: Change): void => listener(change);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    hasSubscribers: () => listeners.size > 0,
  };
}

function merged(before: Change | undefined, after: Change): Change {
  // Both are of one subject and so of one kind.
  const isListChanged = before !== undefined && "isListChanged" in before && before.isListChanged;
  return isListChanged ? ({ ...after, isListChanged } as Change) : after;
}
