import { commandSteps } from "../next-steps/commands.ts";
import { renderSteps } from "../next-steps/render.ts";
import type { OrchestratorError } from "../orchestrator/errors.ts";

/** One of our own errors in the terms of a terminal or a log. Loaded when a start fails: most starts need no commands. */
export function errorAtTerminal({ message, next }: OrchestratorError, separator = "\n  "): string {
  const text = renderSteps(next, commandSteps);
  return text === "" ? message : `${message}${separator}${text}`;
}
