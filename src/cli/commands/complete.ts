import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import type { Argument, Command, Option } from "commander";
import { OrchestratorError, undefinedIf } from "../../orchestrator/api/errors.ts";
import { builtFile } from "../../orchestrator/util/programs.ts";
import { commandNamed } from "./options.ts";
import type { Settings } from "../../orchestrator/config/schema.ts";
import type { Reply } from "../setup/check.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";

/** Time from the start of the process until Tab shows names; Ollama servers that take longer are left out. */
const boundMs = 180;
/** Ollama servers get at least this long, even if the start of the process was slow. */
const leastMs = 80;

/**
 * `ollm __complete COUNT WORD...`, asked by the scripts in `completions/`: prints the candidates for the word after
 * COUNT words, one per line, its meaning after a tab; `:files` for a path, which shells complete themselves.
 * Starts no daemon, reports no error. `bound` ends the wait for Ollama servers.
 */
export async function complete(
  program: Command,
  [count = "", ...words]: readonly string[],
  io: CommandIo,
  bound = AbortSignal.timeout(Math.max(leastMs, Math.round(boundMs - performance.now()))),
): Promise<void> {
  const at = Number(count);
  const current = words[at] ?? "";
  const { prefix, wanted } = completionOf(program, words.slice(0, at), current);
  if (wanted === "files") {
    io.stdout(":files\n");
    return;
  }
  const lines = (await candidatesFor(wanted, io, bound))
    .map(({ word, meaning }) => ({ word: `${prefix}${word}`, meaning }))
    // Names come from other programs and are put on the command line: a shell has to take the word as it is.
    .filter(({ word }) => word.startsWith(current) && /^[\w.:/@+=-]+$/.test(word))
    .map(({ word, meaning }) => (meaning === undefined ? `${word}\n` : `${word}\t${meaning}\n`));
  io.stdout(lines.join(""));
}

async function candidatesFor(
  wanted: Exclude<Completion["wanted"], "files">,
  io: CommandIo,
  bound: AbortSignal,
): Promise<readonly Candidate[]> {
  if (wanted === "settings") {
    const [{ settingPaths }, { settingsSchema }] = await Promise.all([
      import("../../orchestrator/config/paths.ts"),
      import("../../orchestrator/config/schema.ts"),
    ]);
    return settingPaths(settingsSchema).map(({ path }) => ({ word: path.join(".") }));
  }
  // A name that begins with a hyphen would be an option.
  if (wanted === "models")
    return (await modelNames(io, bound)).flatMap((word) => (word.startsWith("-") ? [] : [{ word }]));
  if (wanted === "profiles") {
    const [{ profileNames }, settings] = await Promise.all([
      import("../../orchestrator/config/profiles.ts"),
      settingsOf(io),
    ]);
    return profileNames(settings?.profiles).map((word) => ({ word }));
  }
  return wanted;
}

/** The body of a response. `fetch` would take 30 ms to load. */
async function get(url: string, signal: AbortSignal): Promise<Reply> {
  const { get: request } = url.startsWith("https:") ? await import("node:https") : await import("node:http");
  return new Promise((resolve, reject) => {
    const sent = request(url, { signal, agent: false }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    });
    sent.once("error", reject);
  });
}

/** Completion reports no error. */
const noneIfRefused = undefinedIf(OrchestratorError);

/** Undefined where they can't be read. */
async function settingsOf(io: CommandIo): Promise<Settings | undefined> {
  const { usableSettings } = await import("../setup/check.ts");
  return (await usableSettings(homeOf(io), io).catch(noneIfRefused))?.settings;
}

async function modelNames(io: CommandIo, bound: AbortSignal): Promise<readonly string[]> {
  const { installedNames } = await import("../setup/check-engines.ts");
  const settings = await settingsOf(io);
  if (settings === undefined) return [];
  return (await installedNames({ home: homeOf(io), io, settings, get }, bound).catch(noneIfRefused)) ?? [];
}

/** A word that may stand at the cursor, and its meaning. */
interface Candidate {
  readonly word: string;
  readonly meaning?: string;
}

/** What may stand at the cursor: words, or names that have to be looked up, each after `prefix` (`--model=`). */
interface Completion {
  readonly prefix: string;
  readonly wanted: readonly Candidate[] | "models" | "profiles" | "settings" | "files";
}

/**
 * What may follow the complete words `before` in place of `current`, which may be empty. An argument or a value takes
 * models, profiles, settings, files or commands by the name that its help gives it.
 */
export function completionOf(program: Command, before: readonly string[], current: string): Completion {
  const first: Place = { command: program, operands: [], valueOf: undefined, hasOptions: true };
  const { command, operands, valueOf, hasOptions } = before.reduce(next, first);
  const plain = (wanted: Completion["wanted"]): Completion => ({ prefix: "", wanted });
  if (valueOf !== undefined) return plain(valuesOf(valueOf, program, []));
  if (hasOptions && current.startsWith("-")) {
    const [name = "", value] = current.split(/(?<==)/);
    const option = command.options.find(({ long }) => `${long}=` === name);
    if (value === undefined && !name.endsWith("=")) return plain(optionsOf(command));
    return { prefix: name, wanted: option === undefined ? [] : valuesOf(option, program, []) };
  }
  if (command.commands.length > 0) return plain(operands.length === 0 ? commandsOf(command) : []);
  const last = command.registeredArguments.at(-1);
  const argument = command.registeredArguments[operands.length] ?? (last?.variadic === true ? last : undefined);
  if (argument !== undefined) return plain(valuesOf(argument, program, operands));
  return plain(hasOptions ? optionsOf(command) : []);
}

interface Place {
  readonly command: Command;
  /** Arguments of the command so far. */
  readonly operands: readonly string[];
  /** The option whose value comes next. */
  readonly valueOf: Option | undefined;
  /** False after `--`. */
  readonly hasOptions: boolean;
}

function next({ command, operands, valueOf, hasOptions }: Place, word: string): Place {
  const same = { command, operands, valueOf: undefined, hasOptions };
  if (valueOf !== undefined) return same;
  if (hasOptions && word === "--") return { ...same, hasOptions: false };
  if (hasOptions && word.startsWith("-")) {
    const option = command.options.find(({ short, long }) => word === short || word === long);
    return { ...same, valueOf: option?.required === true ? option : undefined };
  }
  const below = operands.length > 0 ? undefined : commandNamed(command, word);
  return below === undefined ? { ...same, operands: [...operands, word] } : { ...same, command: below };
}

function valuesOf(given: Argument | Option, program: Command, operands: readonly string[]): Completion["wanted"] {
  if (given.argChoices !== undefined) return given.argChoices.map((word) => ({ word }));
  const name = "flags" in given ? /[<[]([\w-]+)/.exec(given.flags)?.[1] : given.name();
  if (name !== "command") return wantedBy[name ?? ""] ?? [];
  return commandsOf(operands.reduce((parent, word) => commandNamed(parent, word) ?? parent, program));
}

/** What completes the argument of this name. */
const wantedBy: Readonly<Record<string, Completion["wanted"]>> = {
  model: "models",
  models: "models",
  profile: "profiles",
  setting: "settings",
  file: "files",
  folder: "files",
  path: "files",
};

function commandsOf(command: Command): readonly Candidate[] {
  const visible = command.createHelp().visibleCommands(command);
  return visible.map((each) => ({ word: each.name(), meaning: each.summary() || each.description() }));
}

function optionsOf(command: Command): readonly Candidate[] {
  const visible = command.createHelp().visibleOptions(command);
  return visible.map(({ long, short, description }) => ({ word: long ?? short ?? "", meaning: description }));
}

/**
 * `ollm completion SHELL`: prints the script that makes Tab complete the words of `ollm`. Each asks
 * `ollm __complete COUNT WORD...`: the words up to the cursor, of which the first COUNT are complete. The typed words are
 * only ever passed as arguments: nothing on the line is evaluated before Enter. That of bash works in 3.2 (macOS) and
 * without the package bash-completion; bash splits words at : and =, which it joins, and replaces only what follows them.
 * Without results PowerShell completes the names of files.
 */
export async function completion(shell: string, _options: object, io: Pick<CommandIo, "content">): Promise<number> {
  io.content(await readFile(builtFile(`completions/ollm.${shell}`), "utf8"));
  return 0;
}
