import type { ServerContext } from "@modelcontextprotocol/server";
import { type ErrorData, errorKey, renderSteps, withSteps } from "../../next-steps/render.ts";
import { orDoItYourself, toolSteps } from "../../next-steps/tools.ts";
import { OrchestratorError, PrivacyLocked } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { type NextSteps, stepsOf } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { toolFacts } from "../../tools/facts.ts";
import { isShell } from "../../orchestrator/api/types.ts";

/**
 * An error as an assistant reads it: message and next steps for our own errors, "internal error" for any other, whose
 * stack is logged. `what` failed: a tool's name, or a phrase. If it was to hand work to a local model, the assistant is
 * told to do it itself.
 */
export function errorText(error: unknown, what: string, log: Log): string {
  if (error instanceof OrchestratorError) {
    if (error.cause instanceof Error) log.debug(`${what}: ${error.message} <- ${error.cause.message}`);
    const { message, next } = error;
    const isOwnWork = delegates(what) && !isCorrectable(error);
    const steps = isOwnWork ? orDoItYourself(next, !(error instanceof PrivacyLocked)) : next;
    return withSteps({ message, next: steps }, toolSteps, "\n");
  }
  log.warn(`${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  const message = `internal error in ${what}; the server's log (stderr) has the details`;
  return withSteps({ message, next: delegates(what) ? orDoItYourself([]) : [] }, toolSteps, "\n");
}

function delegates(what: string): boolean {
  return toolFacts.get(what)?.delegates === true;
}

/** Steps as sentences for this client: calls for an assistant, commands for a person at our shell or page. */
export async function wordedFor(client: string, next: NextSteps): Promise<string> {
  const table = isShell(client) ? (await import("../../next-steps/commands.ts")).commandSteps : toolSteps;
  return oneLine(renderSteps(stepsOf(next), table));
}

/** Whether the assistant can correct its call. It can't allow a folder: only the user can. */
function isCorrectable({ facts, next }: OrchestratorError): boolean {
  return facts.isCorrectable === true && !next.some(({ step }) => step === "allowFolder");
}

/** An error as data, for a caller that renders it itself, with `shown` applied to each text. Undefined for defects. */
export function errorDataOf(error: unknown, shown: (text: string) => string): ErrorData | undefined {
  if (!(error instanceof OrchestratorError)) return undefined;
  const next = JSON.parse(JSON.stringify(error.next), (_key, value: unknown) =>
    typeof value === "string" ? shown(value) : value,
  ) as ErrorData["next"];
  return { message: shown(error.message), next };
}

/** The `data` of a protocol error; undefined unless its caller asks for errors as data. */
export function protocolData(
  error: unknown,
  { mcpReq }: ServerContext,
  shown: (text: string) => string,
): Readonly<Record<string, ErrorData>> | undefined {
  const data = mcpReq._meta?.[errorKey] === true ? errorDataOf(error, shown) : undefined;
  return data && { [errorKey]: data };
}
