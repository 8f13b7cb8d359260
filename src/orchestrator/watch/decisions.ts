import type { Decision } from "../api/facade-status.ts";
import type { Events } from "../api/events.ts";
import type { Log } from "../api/log.ts";

/** A day of ordinary use; older decisions are in the log file at level `debug`. */
const kept = 200;

/** The log of load and unload decisions. `now`: milliseconds since the epoch. */
export function watchDecisions(parts: { readonly events: Events; readonly now: () => number; readonly log: Log }) {
  const { events, now, log } = parts;
  const decisions: Decision[] = [];
  events.on(["decision taken"], ({ decision }) => {
    decisions.unshift({ at: new Date(now()).toISOString(), ...decision });
    decisions.length = Math.min(decisions.length, kept);
    log.debug(`decisions: ${decision.kind} ${decision.model}: ${decision.steps.join(" -> ")}`);
  });
  return {
    /** Newest first. */
    list(): readonly Decision[] {
      events.flush();
      return [...decisions];
    },
  };
}
