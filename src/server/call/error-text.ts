import path from "node:path";
import { type ErrorData, errorKey, renderSteps, withSteps } from "../../next-steps/render.ts";
import { orDoItYourself, toolSteps } from "../../next-steps/tools.ts";
import { OrchestratorError, PrivacyLocked } from "../../orchestrator/api/errors.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { type NextSteps, stepsOf } from "../../orchestrator/api/next-step.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { isInside } from "../../orchestrator/util/file-name.ts";
import { toolFacts } from "../../tools/facts.ts";
import { isShell } from "../../orchestrator/api/types.ts";
import { stackOf } from "../../orchestrator/util/values.ts";
import type { Call } from "./call.ts";

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
  log.warn(`${what}: ${stackOf(error)}`);
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

/**
 * An error as data, under its key in `_meta` or `data`, with `shown` applied to each text; undefined for defects, and unless
 * its caller asks for errors as data.
 */
export function protocolData(
  error: unknown,
  { wantsErrorData }: Pick<Call, "wantsErrorData">,
  shown: (text: string) => string,
): Readonly<Record<string, ErrorData>> | undefined {
  if (!wantsErrorData || !(error instanceof OrchestratorError)) return undefined;
  const { message, next } = error;
  const data = JSON.parse(JSON.stringify({ message, next }), (_key, value: unknown) =>
    typeof value === "string" ? shown(value) : value,
  ) as ErrorData;
  return { [errorKey]: data };
}

/** Replaces a path of the server's machine. */
const hidden = "[a path on the server]";

/** Absolute paths of any platform; in quotes they may have spaces. URLs (`http://`) and `a/b` don't match. */
const absolutePaths =
  /(?<=")(?:\/(?=[^/\s"])|~[\\/]|[A-Za-z]:[\\/]|\\\\)[^"\n]*(?=")|(?<![\w.:/\\~@-])(?:\/(?=[\w.~-])|~[\\/]|[A-Za-z]:[\\/]|\\\\(?=\w))[^\s"'`<>()[\]{},;|]*/g;

/**
 * The function that prepares texts for the caller of one request. Over HTTP, where it may be on another machine, it hides
 * absolute paths, except those inside the caller's roots and those that it sent itself.
 */
export function textFor(
  caller: { readonly mayOfferRoots: boolean },
  home: { readonly fileRoots: readonly string[]; readonly configFile: string } | undefined,
  given: unknown,
): (text: string) => string {
  if (caller.mayOfferRoots) return (text) => text;
  const [roots, sent] = [home?.fileRoots ?? [], textsIn(given)];
  return (text) => {
    // Next steps name files of our home: its own path is replaced first.
    const ours = home === undefined ? text : text.replaceAll(path.dirname(home.configFile), "OLLM_HOME");
    return ours.replaceAll(absolutePaths, (found, at: number) => {
      const bare = found.replace(/[.:]+$/, "");
      const isKnown =
        sent.has(found) ||
        sent.has(bare) ||
        roots.some((root) => isInside(root, path.normalize(bare)) || startsWithFolder(ours, at, root));
      return isKnown ? found : `${hidden}${found.slice(bare.length)}`;
    });
  };
}

/** Whether `folder`, whose name has a space and so was matched only in part, is at `at`. */
function startsWithFolder(text: string, at: number, folder: string): boolean {
  if (!/\s/.test(folder) || !text.startsWith(folder, at)) return false;
  const rest = /^[^\s"']*/.exec(text.slice(at + folder.length))?.[0] ?? "";
  return (rest === "" || /^[\\/.,:;)]/.test(rest)) && !/[\\/]\.\.(?:[\\/]|$)/.test(rest);
}

/** Every text in a call's arguments, at any depth. */
function textsIn(value: unknown, found = new Set<string>()): ReadonlySet<string> {
  if (typeof value === "string") found.add(value);
  else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) textsIn(each, found);
  return found;
}

/** A copy of plain data with `change` applied to every text under a key `error`, at any depth. */
export function withErrors(value: unknown, change: (text: string) => string): unknown {
  if (Array.isArray(value)) return value.map((each) => withErrors(each, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      key,
      key === "error" && typeof each === "string" ? change(each) : withErrors(each, change),
    ]),
  );
}
