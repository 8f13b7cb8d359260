import { statSync } from "node:fs";
import path from "node:path";
import type { Hello } from "../../ipc/protocol.ts";
import { expandHome } from "../../orchestrator/config/expand-home.ts";
import { parseFlags, type Flags } from "../../orchestrator/config/flags.ts";
import { InvalidRequest, OrchestratorError } from "../../orchestrator/errors.ts";
import type { ServerHost } from "../host.ts";
import type { BrainKeeper } from "./brain-keeper.ts";
import { createCallerHome, type CallerOrigin } from "./caller-home.ts";
import type { OwnerParts } from "./parts.ts";

/** The flags of a front's command line. Throws `InvalidRequest`, also for a root that is no folder. */
export function flagsOfHello(hello: Hello, userHome: string): Flags {
  const flags = parseFlags(hello.arguments);
  checkRoots(flags, hello.workingDirectory, userHome);
  return flags;
}

/** A root that is missing is a slip of the pen that would show much later, as a refusal. */
function checkRoots(flags: Flags, workingDirectory: string, userHome: string): void {
  for (const given of flags.roots ?? []) {
    const folder = path.resolve(workingDirectory, expandHome(given, userHome));
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) continue;
    throw new InvalidRequest(`--root ${given} is not a folder`, { hint: "Name an existing folder." });
  }
}

/** What the server of one caller is given. */
export function callerHost(
  parts: Pick<OwnerParts, "version" | "log" | "brain" | "calls">,
  id: string,
  origin: CallerOrigin,
): ServerHost {
  return {
    version: parts.version,
    log: parts.log,
    caller: {
      id,
      ...(origin.workingDirectory !== undefined && { workingDirectory: origin.workingDirectory }),
      mayOfferRoots: origin.workingDirectory !== undefined,
      homeDirectory: origin.userHome,
    },
    open: createCallerHome(origin, parts.brain.open, Date.now),
    noteCall: (record) => parts.calls.note(record),
  };
}

/** The first caller of an owner is not kept waiting for its notices. */
const noticesWaitMs = 2_000;

/**
 * Sentences for the user of a front: what of its settings is not obeyed, or wrong. Who brings no settings has none, and
 * is answered before the brain is open.
 */
export async function noticesFor(
  host: ServerHost,
  origin: CallerOrigin,
  brain: BrainKeeper,
): Promise<readonly string[]> {
  const isPlain =
    Object.keys(origin.flags).length === 0 && Object.keys(origin.environment).every((name) => name === "OLLM_HOME");
  if (isPlain) return [];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly string[]>((resolve) => {
    timer = setTimeout(() => resolve([]), noticesWaitMs);
  });
  const told = async (): Promise<readonly string[]> => {
    try {
      await brain.open();
      return (await host.open()).warnings;
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
