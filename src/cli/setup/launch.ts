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

/** How an existing entry starts its program; entries of an unknown format have no command. */
export function readLaunch({ command, args, env }: Readonly<Record<string, unknown>>) {
  return {
    command: typeof command === "string" ? command : undefined,
    args: Array.isArray(args) ? args.filter((part) => typeof part === "string") : [],
    env: (typeof env === "object" ? { ...env } : {}) as Readonly<Record<string, unknown>>,
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

/** A new value in an entry; undefined removes it. */
export interface EntryChange {
  readonly key: "command" | "args" | "env";
  readonly value: unknown;
}

/** The changes that make an existing entry start `launch`; everything else in it is kept. */
export function entryChanges(existing: Readonly<Record<string, unknown>>, launch: Launch): readonly EntryChange[] {
  const found = readLaunch(existing);
  const changes: EntryChange[] = [];
  if (found.command !== launch.command) changes.push({ key: "command", value: launch.command });
  if (JSON.stringify(existing["args"]) !== JSON.stringify(launch.args))
    changes.push({ key: "args", value: launch.args });
  if (found.env["OLLM_HOME"] !== launch.env?.["OLLM_HOME"]) {
    const { OLLM_HOME: _old, ...others } = found.env;
    const env = { ...others, ...launch.env };
    changes.push({ key: "env", value: Object.keys(env).length === 0 ? undefined : env });
  }
  return changes;
}
