/** How a client starts us: what every client's entry says in its own shape. */
export interface Launch {
  /** Absolute path of a Node. */
  readonly command: string;
  /** The script's absolute path, then flags. */
  readonly args: readonly string[];
  /** Only what differs from a default: clients start us with an environment of their own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The name under which clients list us. */
export const entryName = "ollm";

/** What an entry that is already there says; unknown shapes have no command. */
interface FoundEntry {
  readonly command: string | undefined;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, unknown>>;
}

export function readLaunch(entry: Readonly<Record<string, unknown>>): FoundEntry {
  const { command, args, env } = entry;
  return {
    command: typeof command === "string" ? command : undefined,
    args: Array.isArray(args) ? args.filter((part) => typeof part === "string") : [],
    env: typeof env === "object" && env !== null ? { ...env } : {},
  };
}

const programName = /(^|[\\/])(cli\.mjs|ollm(-mcp)?(@[^\\/]*)?(\.cmd)?)$/;

/**
 * Where our flags start in the arguments of an entry, which may be ours (`node …/cli.mjs FLAGS`), a hand-made
 * `npx -y ollm-mcp FLAGS` or a plain `ollm FLAGS`. Undefined when it starts another program.
 */
function flagsStart({ command, args }: FoundEntry): number | undefined {
  if (command === undefined) return undefined;
  if (programName.test(command)) return 0;
  const at = args.findIndex((part) => programName.test(part));
  return at < 0 ? undefined : at + 1;
}

/** Whether an entry under our name starts our program, so that it is ours to change or to take out. */
export function isOurEntry(entry: Readonly<Record<string, unknown>>): boolean {
  return flagsStart(readLaunch(entry)) !== undefined;
}

/** Folders that an entry of ours allows. */
export function allowedFolders(entry: Readonly<Record<string, unknown>>): readonly string[] {
  return splitFlags(flagsOf(entry)).roots;
}

function flagsOf(entry: Readonly<Record<string, unknown>>): readonly string[] {
  const found = readLaunch(entry);
  const start = flagsStart(found);
  return start === undefined ? [] : found.args.slice(start);
}

function splitFlags(flags: readonly string[]): {
  readonly roots: readonly string[];
  readonly others: readonly string[];
} {
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

/** What starts us: this machine's program, this home, and the folders to allow. */
export interface Program {
  readonly node: string;
  readonly script: string;
  /** Set when it is not the default one. */
  readonly home?: string;
}

/**
 * The launch of a client. Flags and variables of an entry that is there already stay; so do its folders, unless new ones
 * are named: an upgrade, which is set-up run again, forgets nothing.
 */
export function createLaunch(
  program: Program,
  roots: readonly string[] | undefined,
  existing: Readonly<Record<string, unknown>> | undefined,
): Launch {
  const kept = splitFlags(existing === undefined ? [] : flagsOf(existing));
  const folders = roots ?? kept.roots;
  const { OLLM_HOME: _old, ...others } = existing === undefined ? {} : readLaunch(existing).env;
  const texts = Object.entries(others).filter((pair): pair is [string, string] => typeof pair[1] === "string");
  const env = { ...Object.fromEntries(texts), ...(program.home !== undefined && { OLLM_HOME: program.home }) };
  return {
    command: program.node,
    args: [program.script, ...folders.flatMap((folder) => ["--root", folder]), ...kept.others],
    ...(Object.keys(env).length > 0 && { env }),
  };
}

/** One value of an entry that is to become another; undefined takes it out. */
export interface EntryChange {
  readonly key: "command" | "args" | "env";
  readonly value: unknown;
}

/** What must change in an entry of ours so that it starts `launch`; everything else that the user wrote there stays. */
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
