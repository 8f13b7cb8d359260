import { nextText } from "../terminal-text.ts";
import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { readConfigFile } from "../setup/config-file.ts";
import { BrokenConfig } from "../setup/config-text.ts";
import { findTargets, gatherFacts, type ClientTarget } from "../setup/discover.ts";
import { readEntry } from "../setup/document.ts";
import { entryName, readLaunch } from "../setup/launch.ts";
import { type Check, type Checker, fail, ok, warn } from "./check.ts";

/** The assistants that are installed: whether each has an entry of ours that can be started. */
export const checkClients: Checker = async ({ io }) => {
  const targets = findTargets(gatherFacts(io), []);
  if (targets.length === 0) {
    return [
      warn("clients", "no assistant was found", "ollm setup --print shows what to write into one of another kind."),
    ];
  }
  return await Promise.all(targets.map(checkTarget));
};

async function checkTarget({ client, file }: ClientTarget): Promise<Check> {
  const name = client.name;
  const setUp = `ollm setup --client ${client.id}`;
  try {
    const { text } = await readConfigFile(file);
    const entry = readEntry(text, { format: client.format, container: client.container, name: entryName });
    if (entry === undefined) return warn(name, `has no entry ${entryName} in ${file}`, `${setUp} adds it`);
    const problem = launchProblem(readLaunch(entry));
    return problem === undefined ? ok(name, file) : fail(name, `${problem}, in ${file}`, `${setUp} mends it`);
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    const position = error instanceof BrokenConfig ? `:${error.position.line}:${error.position.column}` : "";
    return fail(
      name,
      `${file}${position}: ${error.message}`,
      nextText(error) || "Mend the file; its client can't read it either.",
    );
  }
}

/** Why a client could not start the entry, in words. */
function launchProblem(launch: {
  readonly command: string | undefined;
  readonly args: readonly string[];
}): string | undefined {
  const { command, args } = launch;
  if (command === undefined) return `the entry ${entryName} names no command`;
  // A name without a folder is looked up on the client's own PATH, which we don't know.
  if (path.isAbsolute(command) && !isExecutable(command)) return `${command} is not there or can't be run`;
  const script = args.find((part) => /\.(mjs|js)$/.test(part));
  return script !== undefined && path.isAbsolute(script) && !existsSync(script) ? `${script} is not there` : undefined;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
