import { advice, type NextStep } from "../orchestrator/api/next-step.ts";

/** The tools by which an assistant hands work to a local model. */
const delegations: ReadonlySet<unknown> = new Set(["route_and_generate", "render_template", "compare", "smart_load"]);

export function isDelegation(tool: unknown): boolean {
  return delegations.has(tool);
}

/**
 * The steps after a failed delegation, for the assistant: at last, that it does the work itself. `mayLeave` is false
 * where the text was kept on this machine on purpose, and the assistant's own model is elsewhere.
 */
export function orDoItYourself(next: readonly NextStep[], mayLeave = true): readonly NextStep[] {
  if (!mayLeave)
    return [...next, advice("do the task yourself only if the user agrees that its text leaves this machine")];
  return [...next, advice("do the task yourself")];
}
