import type { Decision } from "../api/facade-status.ts";
import type { Change } from "../api/facade.ts";
import type { Log } from "../api/log.ts";

/** The log of load and unload decisions. */
export interface Decisions {
  /** Adds a decision, notifies subscribers, and writes it to the log at level `debug`. */
  note(decision: Omit<Decision, "at">): void;
  /** Newest first. */
  list(): readonly Decision[];
}

/** A day of ordinary use; older decisions are in the log file at level `debug`. */
const kept = 200;

/** `now`: milliseconds since the epoch. */
export function createDecisions(parts: {
  readonly now: () => number;
  readonly log: Log;
  readonly publish: (change: Change) => void;
  /** Counts unloads. */
  readonly metrics: { noteDecision(decision: Omit<Decision, "at">): void };
}): Decisions {
  const decisions: Decision[] = [];
  return {
    note(decision) {
      decisions.unshift({ at: new Date(parts.now()).toISOString(), ...decision });
      decisions.length = Math.min(decisions.length, kept);
      parts.metrics.noteDecision(decision);
      parts.log.debug(`decisions: ${decision.kind} ${decision.model}: ${decision.steps.join(" -> ")}`);
      parts.publish({ kind: "decisions" });
    },
    list: () => [...decisions],
  };
}
