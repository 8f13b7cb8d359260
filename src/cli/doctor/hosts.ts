import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { OrchestratorError } from "../../orchestrator/errors.ts";
import { readConfigFile } from "../hosts/config-file.ts";
import { BrokenConfig } from "../hosts/config-text.ts";
import { findTargets, gatherFacts, type HostTarget } from "../hosts/discover.ts";
import { readEntry } from "../hosts/document.ts";
import { entryName, readLaunch } from "../hosts/launch.ts";
import { type Check, type Checker, fail, ok, warn } from "./check.ts";

/** The assistants that are installed: whether each has an entry of ours that can be started. */
export const checkHosts: Checker = async ({ io }) => {
  const targets = findTargets(gatherFacts(io), []);
  if (targets.length === 0) {
    return [
      warn("hosts", "no assistant was found", "ollm setup --print shows what to write into one of another kind."),
    ];
  }
  return await Promise.all(targets.map(checkTarget));
};

async function checkTarget({ host, file }: HostTarget): Promise<Check> {
  const name = host.name;
  const setUp = `ollm setup --client ${host.id}`;
  try {
    const { text } = await readConfigFile(file);
    const entry = readEntry(text, { format: host.format, container: host.container, name: entryName });
    if (entry === undefined) return warn(name, `has no entry ${entryName} in ${file}`, `${setUp} adds it`);
    const problem = launchProblem(readLaunch(entry));
    return problem === undefined ? ok(name, file) : fail(name, `${problem}, in ${file}`, `${setUp} mends it`);
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    const place = error instanceof BrokenConfig ? `:${error.position.line}:${error.position.column}` : "";
    return fail(
      name,
      `${file}${place}: ${error.message}`,
      error.hint ?? "Mend the file; its host can't read it either.",
    );
  }
}

/** Why a host could not start the entry, in words. */
function launchProblem(launch: {
  readonly command: string | undefined;
  readonly args: readonly string[];
}): string | undefined {
  const { command, args } = launch;
  if (command === undefined) return `the entry ${entryName} names no command`;
  // A name without a folder is looked up on the host's own PATH, which we don't know.
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
