import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { readConfigFile } from "./config-file.ts";
import { BrokenConfig } from "./config-text.ts";
import { findTargets, gatherFacts, type ClientTarget } from "./discover.ts";
import { readEntry } from "./document.ts";
import { guidePlaces, planAddGuide, type GuideTarget } from "./guide-plan.ts";
import { entryName, readLaunch } from "./launch.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { type Check, type Checker, fail, ok, stepsFor, warn } from "./check.ts";

/** Checks that each installed assistant has an ollm entry, that its program exists, and that its guide is current. */
export const checkClients: Checker = async ({ io }) => {
  const targets = findTargets(gatherFacts(io), []);
  if (targets.length === 0) {
    return [
      warn("clients", "no assistant was found; ollm setup --print shows the entry for others", {
        step: "setUpClient",
        client: "NAME",
      }),
    ];
  }
  const { files } = await guidePlaces(targets);
  const [entries, guides] = await Promise.all([
    Promise.all(targets.map(checkTarget)),
    Promise.all(files.map(checkGuide)),
  ]);
  return [...entries, ...guides.flat()];
};

/** Warns about a guide that an earlier version wrote. Edited guides and missing ones are the user's choice. */
async function checkGuide(target: GuideTarget): Promise<readonly Check[]> {
  const { client, file } = target;
  const plan = await planAddGuide(target);
  if (plan.kind !== "change" || !plan.isUpdate) return [];
  return [warn(`${client.name} guide`, `${file}: out of date`, { step: "setUpClient", client: client.id })];
}

async function checkTarget({ client, file }: ClientTarget): Promise<Check> {
  const name = client.name;
  const setUp = { step: "setUpClient", client: client.id } as const;
  try {
    const { text } = await readConfigFile(file);
    const entry = readEntry(text, { format: client.format, container: client.container, name: entryName });
    if (entry === undefined) return warn(name, `no entry "${entryName}" in ${file}`, setUp);
    const problem = launchProblem(readLaunch(entry));
    return problem === undefined ? ok(name, file) : fail(name, `${file}: ${problem}`, setUp);
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    const position = error instanceof BrokenConfig ? `:${error.position.line}:${error.position.column}` : "";
    const otherwise = advice(`correct the file: ${name} can't read it either`);
    return fail(name, `${file}${position}: ${error.message}`, stepsFor(error, otherwise));
  }
}

/** Why a client can't start the entry; undefined if it can. */
function launchProblem(launch: {
  readonly command: string | undefined;
  readonly args: readonly string[];
}): string | undefined {
  const { command, args } = launch;
  if (command === undefined) return `the entry "${entryName}" has no command`;
  // A bare name is resolved with the client's own PATH, which is unknown here.
  if (path.isAbsolute(command) && !isExecutable(command)) return `${command} does not exist or can't be executed`;
  const script = args.find((part) => /\.(mjs|js)$/.test(part));
  return script !== undefined && path.isAbsolute(script) && !existsSync(script)
    ? `${script} does not exist`
    : undefined;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
