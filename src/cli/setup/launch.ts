import { statSync } from "node:fs";
import path from "node:path";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { expandHome } from "../../orchestrator/config/home.ts";
import { isTooBroad } from "../../orchestrator/util/file-name.ts";
import { defined } from "../../orchestrator/util/values.ts";

/** How a client starts ollm; each client has its own format for it. */
export interface Launch {
  /** Absolute path of a Node. */
  readonly command: string;
  /** The script's absolute path, then flags. */
  readonly args: readonly string[];
  /** Variables that are added to the environment of the client. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The name of the entry in every client. */
export const entryName = "ollm";

/** Where clients have the command, alone or with the arguments, and the variables. */
const commandKeys = ["command", "cmd", "args"];
const variableKeys = ["env", "environment", "envs"];

/** How an existing entry starts its program; entries of an unknown format have no command. */
export function readLaunch(entry: Readonly<Record<string, unknown>>) {
  const [command, ...args] = [entry["command"] ?? entry["cmd"], entry["args"]].flat();
  const env = variableKeys.map((key) => entry[key]).find((value) => typeof value === "object");
  return {
    command: typeof command === "string" ? command : undefined,
    args: args.filter((part) => typeof part === "string"),
    env: { ...env } as Readonly<Record<string, unknown>>,
  };
}

const programName = /(^|[\\/])(cli\.mjs|ollm(-mcp)?(@[^\\/]*)?(\.cmd)?)$/;

/**
 * The index of the first flag in the arguments of an entry, which may be `node …/cli.mjs FLAGS`, `npx -y ollm-mcp FLAGS` or
 * `ollm FLAGS`; undefined if the entry starts another program.
 */
function flagsStart({ command, args }: ReturnType<typeof readLaunch>): number | undefined {
  if (command === undefined) return undefined;
  if (programName.test(command)) return 0;
  const at = args.findIndex((part) => programName.test(part));
  return at < 0 ? undefined : at + 1;
}

/** Whether an entry starts ollm, so that it may be changed and removed. */
export function isOurEntry(entry: Readonly<Record<string, unknown>>): boolean {
  return flagsStart(readLaunch(entry)) !== undefined;
}

/** The folders that an ollm entry allows. */
export function allowedFolders(entry: Readonly<Record<string, unknown>>): readonly string[] {
  return splitFlags(flagsOf(entry)).roots;
}

function flagsOf(entry: Readonly<Record<string, unknown>>): readonly string[] {
  const found = readLaunch(entry);
  const start = flagsStart(found);
  return start === undefined ? [] : found.args.slice(start);
}

function splitFlags(flags: readonly string[]) {
  const roots: string[] = [];
  const others: string[] = [];
  for (let at = 0; at < flags.length; at += 1) {
    const flag = flags[at] ?? "";
    const next = flags[at + 1];
    if (flag === "--root" && next !== undefined) {
      roots.push(next);
      at += 1;
    } else if (flag.startsWith("--root=")) roots.push(flag.slice("--root=".length));
    else others.push(flag);
  }
  return { roots, others };
}

/** The program that entries start, and its home. */
export interface Program {
  readonly node: string;
  readonly script: string;
  /** Absent for the default home. */
  readonly home?: string;
}

/**
 * Creates the launch of a client. Flags, variables and folders of an existing entry are kept, so that running setup again
 * loses nothing; `roots` are added.
 */
export function createLaunch(
  program: Program,
  roots: readonly string[] | undefined,
  existing: Readonly<Record<string, unknown>> | undefined,
): Launch {
  const kept = splitFlags(existing === undefined ? [] : flagsOf(existing));
  const folders = [...new Set([...kept.roots, ...(roots ?? [])])];
  const { OLLM_HOME: _old, ...others } = existing === undefined ? {} : readLaunch(existing).env;
  const texts = Object.entries(others).filter((pair): pair is [string, string] => typeof pair[1] === "string");
  const env = { ...Object.fromEntries(texts), ...defined({ OLLM_HOME: program.home }) };
  return {
    command: program.node,
    args: [program.script, ...folders.flatMap((folder) => ["--root", folder]), ...kept.others],
    ...(Object.keys(env).length > 0 && { env }),
  };
}

/**
 * The values that make an existing entry start `launch`, as `wanted` does, by key; undefined removes one. Everything else in
 * the entry is kept.
 */
export function entryChanges(
  existing: Readonly<Record<string, unknown>>,
  launch: Launch,
  wanted: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const changed = commandKeys.filter((key) => JSON.stringify(existing[key]) !== JSON.stringify(wanted[key]));
  const changes = Object.fromEntries(changed.map((key) => [key, wanted[key]]));
  const { OLLM_HOME: old, ...others } = readLaunch(existing).env;
  const key = variableKeys.find((name) => name in existing || name in wanted);
  if (key === undefined || old === launch.env?.["OLLM_HOME"]) return changes;
  const env = { ...others, ...launch.env };
  return { ...changes, [key]: Object.keys(env).length === 0 ? undefined : env };
}

const existing = advice("name an existing folder");

/**
 * Returns the absolute paths of folders, without duplicates; each text may contain several, separated by commas. Throws
 * `InvalidRequest` for an empty text, a path that is not a folder, and a home folder or drive, since allowing that by
 * mistake would expose every private file in it.
 */
export function checkFolders(
  given: readonly string[],
  machine: { readonly userHome: string; readonly workingDirectory: string },
): readonly string[] {
  if (given.some((text) => text.trim() === "")) {
    throw new InvalidRequest("a folder's name is empty: an unset variable?", { next: existing });
  }
  const names = given
    .flatMap((text) => (isFolder(absolute(text, machine)) ? [text] : text.split(",")))
    .map((text) => text.trim())
    .filter((text) => text !== "");
  const folders = names.map((name) => {
    const folder = absolute(name, machine);
    if (!isFolder(folder)) throw new InvalidRequest(`${name} is not a folder`, { next: existing });
    if (isTooBroad(folder, machine.userHome)) {
      throw new InvalidRequest(`${name} is a whole home folder or drive, which is too much to allow`, {
        next: advice("name a folder inside it, such as ~/Documents"),
      });
    }
    return folder;
  });
  return [...new Set(folders)];
}

function absolute(name: string, machine: { readonly userHome: string; readonly workingDirectory: string }): string {
  return path.resolve(machine.workingDirectory, expandHome(name.trim(), machine.userHome));
}

/** Whether a folder exists; follows links. */
export function isFolder(folder: string): boolean {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
}
