import { OrchestratorError } from "../orchestrator/errors.ts";
import type { Log } from "../orchestrator/log.ts";

/**
 * What a caller reads of a failure: message and hint of our own errors, "internal error" of anything else, whose stack
 * goes to stderr. The only place that turns errors into text.
 */
export function errorText(error: unknown, what: string, log: Log): string {
  if (error instanceof OrchestratorError) {
    if (error.cause instanceof Error) log.debug(`${what}: ${error.message} <- ${error.cause.message}`);
    return error.hint === undefined ? error.message : `${error.message}\n${error.hint}`;
  }
  log.warn(`${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return `internal error in ${what}; the server's log (stderr) has the details`;
}
