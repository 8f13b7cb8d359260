import { OrchestratorError } from "../../orchestrator/errors.ts";
import type { ServerParts } from "../server-parts.ts";
import type { LazyOrchestrator } from "./lazy-orchestrator.ts";
import { createCallerHome, type CallerOrigin } from "./caller-home.ts";
import type { DaemonParts } from "./parts.ts";

/** What the server of one caller is given. */
export function callerParts(
  parts: Pick<DaemonParts, "version" | "log" | "orchestrator" | "calls" | "claim">,
  id: string,
  origin: CallerOrigin,
): ServerParts {
  return {
    version: parts.version,
    log: parts.log,
    caller: {
      id,
      ...(origin.workingDirectory !== undefined && { workingDirectory: origin.workingDirectory }),
      mayOfferRoots: origin.workingDirectory !== undefined,
      homeDirectory: origin.userHome,
    },
    open: createCallerHome(id, origin, parts.orchestrator.open, Date.now),
    forget: () => parts.orchestrator.current()?.orchestrator.projects.forgetCaller(id),
    noteAnswered: () => parts.claim()?.markAnswered(),
    noteCall: (record) => parts.calls.note(record),
    notesPrompts: () => parts.orchestrator.current()?.settings.log.prompts === true,
  };
}

/** The first caller of a daemon is not kept waiting for its notices. */
const noticesWaitMs = 2_000;

/**
 * Sentences for the user of a front: what of its settings is not obeyed, or wrong. Who brings no settings has none, and
 * is answered before the orchestrator is open.
 */
export async function noticesFor(
  parts: ServerParts,
  origin: CallerOrigin,
  orchestrator: LazyOrchestrator,
): Promise<readonly string[]> {
  const problem = orchestrator.problem();
  const isPlain =
    Object.keys(origin.flags).length === 0 && Object.keys(origin.environment).every((name) => name === "OLLM_HOME");
  if (isPlain) return problem === undefined ? [] : [problem];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly string[]>((resolve) => {
    timer = setTimeout(() => resolve([]), noticesWaitMs);
  });
  const told = async (): Promise<readonly string[]> => {
    try {
      await orchestrator.open();
      const { warnings } = await parts.open();
      return problem === undefined ? warnings : [problem, ...warnings];
    } catch (error) {
      // Calls show it as well, and obey once it is mended.
      if (error instanceof OrchestratorError) return [error.message];
      throw error;
    }
  };
  try {
    return await Promise.race([told(), late]);
  } finally {
    clearTimeout(timer);
  }
}
