import path from "node:path";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { summaryFile } from "../../orchestrator/models/summary-file.ts";
import { readSummary } from "./instructions.ts";
import type { ServerParts } from "./server-parts.ts";
import type { LazyOrchestrator } from "./lazy-orchestrator.ts";
import { CallerHome, type CallerOrigin } from "./caller-home.ts";
import type { DaemonParts } from "./parts.ts";

/** The parts of one caller's server. */
export function callerParts(
  parts: Pick<DaemonParts, "home" | "version" | "log" | "orchestrator" | "calls" | "claim">,
  id: string,
  origin: CallerOrigin,
): ServerParts {
  const home = new CallerHome(id, origin, parts.orchestrator, Date.now);
  return {
    version: parts.version,
    log: parts.log,
    caller: {
      id,
      ...(origin.workingDirectory !== undefined && { workingDirectory: origin.workingDirectory }),
      mayOfferRoots: origin.workingDirectory !== undefined,
      homeDirectory: origin.userHome,
    },
    installedModels: () => readSummary(path.join(parts.home, summaryFile)),
    open: () => home.open(),
    forget: () => parts.orchestrator.current()?.orchestrator.projects.forgetCaller(id),
    noteAnswered: () => parts.claim()?.markAnswered(),
    noteCall: (record) => parts.calls.note(record),
    notesPrompts: () => parts.orchestrator.current()?.settings.log.prompts === true,
  };
}

/** Limit of the wait for notices, which is long only for a daemon's first caller. */
const noticesWaitMs = 2_000;

/**
 * Notices for the user of a front: which of its settings are ignored or invalid. A front without settings gets only the
 * problem with `config.yaml`, without waiting for the orchestrator.
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
  const notices = async (): Promise<readonly string[]> => {
    try {
      await orchestrator.open();
      const { warnings } = await parts.open();
      return problem === undefined ? warnings : [problem, ...warnings];
    } catch (error) {
      // Calls report it, too, and work once it is corrected.
      if (error instanceof OrchestratorError) return [error.message];
      throw error;
    }
  };
  try {
    return await Promise.race([notices(), late]);
  } finally {
    clearTimeout(timer);
  }
}
