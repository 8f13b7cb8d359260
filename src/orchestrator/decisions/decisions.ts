import type { Change } from "../facade.ts";
import type { Decision } from "../facade-decisions.ts";
import type { Log } from "../log.ts";

/** Where decisions about the memory are kept. */
export interface Decisions {
  /** Keeps it, tells subscribers and, at the level `debug`, the log. */
  note(decision: Omit<Decision, "at">): void;
  /** Newest first. */
  list(): readonly Decision[];
}

/** A day of ordinary use; older ones are in the log file, at the level `debug`. */
const kept = 200;

/** `now`: milliseconds since the epoch. */
export function createDecisions(parts: {
  readonly now: () => number;
  readonly log: Log;
  readonly publish: (change: Change) => void;
}): Decisions {
  const decisions: Decision[] = [];
  return {
    note(decision) {
      decisions.unshift({ at: new Date(parts.now()).toISOString(), ...decision });
      decisions.length = Math.min(decisions.length, kept);
      parts.log.debug(`${decision.kind} ${decision.model}: ${decision.steps.join(" -> ")}`);
      parts.publish({ kind: "decisions" });
    },
    list: () => [...decisions],
  };
}
