import type { Timers } from "../async/timers.ts";
import type { Change } from "../facade.ts";
import type { Log } from "../log.ts";

/** Where the parts of the orchestrator say that something changed, and where those who watch hear of it. */
export interface Changes {
  /** Costs next to nothing while nobody listens. Call it after the change, so that whoever reads anew sees it. */
  publish(change: Change): void;
  /** Calls `listener` until the answer is called. One that throws is logged, and keeps nothing from the others. */
  subscribe(listener: (change: Change) => void): () => void;
  /** Whether anybody listens: work whose only use is to find changes can be left out otherwise. */
  isHeard(): boolean;
}

/** Whoever watches reads anew at every change: more often than this nobody can follow. */
const intervalMs = 300;

/** The memory, the models or one job, for 300 ms after it was last told. */
interface Subject {
  /** What came since, folded into one. */
  pending: Change | undefined;
}

/**
 * The first change of a subject (the memory, the models, one job) is told at once, those that follow within 300 ms as
 * one at the end of them. Nothing is lost: the last change is always told, and `isListChanged` once said stays said.
 */
export function createChanges(timers: Timers, log: Log): Changes {
  const listeners = new Set<(change: Change) => void>();
  const subjects = new Map<string, Subject>();

  function tell(change: Change): void {
    for (const listener of listeners) {
      try {
        listener(change);
      } catch (error) {
        log.warn(`change: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      }
    }
  }

  function turn(key: string, subject: Subject): void {
    const { pending } = subject;
    if (pending === undefined) {
      // Forgotten once it is calm, so that jobs long gone are not kept.
      subjects.delete(key);
      return;
    }
    subject.pending = undefined;
    tell(pending);
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
      // A function of its own: the same listener may be subscribed twice, and each answer ends one.
      const own = (change: Change): void => listener(change);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    isHeard: () => listeners.size > 0,
  };
}

function merged(before: Change | undefined, after: Change): Change {
  // Of one subject, so of one kind.
  const isListChanged = before !== undefined && "isListChanged" in before && before.isListChanged;
  return isListChanged ? ({ ...after, isListChanged } as Change) : after;
}
