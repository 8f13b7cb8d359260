import { commandSteps } from "../../next-steps/commands.ts";
import { withSteps } from "../../next-steps/render.ts";
import type { OrchestratorError } from "../../orchestrator/api/errors.ts";

/** One of our own errors in the terms of a terminal or a log. Loaded when a start fails: most starts need no commands. */
export function errorAtTerminal(error: OrchestratorError, separator = "\n  "): string {
  return withSteps(error, commandSteps, separator);
}
