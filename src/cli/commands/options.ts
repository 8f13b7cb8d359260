import { Command, InvalidArgumentError } from "commander";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import type { CommandIo } from "../terminal/io.ts";
import { hanging, styled } from "../terminal/terminal-text.ts";

/** Runs a command with its surroundings and sets the exit code that it returns. */
export type Run = (work: (io: CommandIo) => Promise<number>) => Promise<void>;

/** A command of the shell; those below it are such commands, too. */
export class ShellCommand extends Command {
  readonly #run: Run;

  constructor(name: string | undefined, run: Run) {
    super(name);
    this.#run = run;
  }

  override createCommand(name?: string): ShellCommand {
    return new ShellCommand(name, this.#run).helpCommand(false);
  }

  /** `work` gets the arguments, the options, be it none, and the `CommandIo`, and resolves to the exit code. */
  does(work: (...given: never[]) => Promise<number>): this {
    // Behind the options commander gives the command itself.
    return this.action((...given) => this.#run((io) => work(...([...given.slice(0, -1), io] as never[]))));
  }

  /** Like `does`, for what is in a file that is loaded when the command runs. */
  loads(work: () => Promise<(...given: never[]) => Promise<number>>): this {
    return this.does(async (...given) => (await work())(...given));
  }

  /**
   * Adds `--json`; `shape` names the fields of the value: `models[{name ...}], total`. `commands.json` has it, unless several
   * commands print the same.
   */
  json(shape: string): this {
    return this.option("--json", `print one JSON value: ${shape}`);
  }

  /**
   * Adds examples to the help, each with its meaning beside it, or below it on a narrow terminal. Quote with double
   * quotes, so that they work in every shell.
   */
  examples(examples: readonly (readonly [words: string, meaning: string])[]): this {
    const width = Math.max(...examples.map(([words]) => words.length));
    const widest = Math.max(...examples.map(([, meaning]) => `  ${" ".repeat(width)}  ${meaning}`.length));
    return this.addHelpText("after", () => {
      const room = this.configureOutput().getOutHelpWidth?.() ?? 80;
      const lines = examples.map(([words, meaning]) =>
        widest > room ? `  ${words}\n      ${meaning}` : `  ${words.padEnd(width)}  ${meaning}`,
      );
      return `\nExamples:\n${lines.join("\n")}\n`;
    });
  }
}

/**
 * A number between `least` and `most`; unless `whole`, fractions are allowed. Throws `InvalidArgumentError` with what is
 * allowed, a usage error.
 */
export function numberBetween(least: number, most: number, kind?: "whole"): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const isNumber = kind === "whole" ? /^\d+$/.test(text) : text.trim() !== "";
    if (isNumber && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`${kind === "whole" ? "whole number" : "number"} from ${least} to ${most}`);
  };
}

const checks = ["none", "quotes", "judged", "agree"] as const;

/** A check of answers: `command:NAME` is one of the user's, `agree:MODEL` names another model. Throws like `numberBetween`. */
export function checkOf(text: string): (typeof checks)[number] | { readonly [kind: string]: string } {
  const [, kind, name] = /^(command|agree):(.+)$/.exec(text) ?? [];
  if (kind !== undefined && name !== undefined) return { [kind]: name };
  const check = checks.find((each) => each === text);
  if (check !== undefined) return check;
  throw new InvalidArgumentError(`${checks.join(", ")}, agree:MODEL, command:NAME`);
}

/** The arguments and options that name something, which "" never does. */
const naming: ReadonlySet<string> = new Set(
  "engine file folder from image judge key model name output profile prompt query setting template".split(" "),
);

/** The error of an empty name: in a shell it comes from an unset variable. */
export function emptyName(command: Command): InvalidRequest | undefined {
  const given = command.registeredArguments.map((each, index) => [
    `<${each.name()}>`,
    [command.processedArgs[index]].flat()[0],
  ]);
  const options = Object.entries(command.opts()).map(([name, value]) => [`--${name}`, value]);
  const isEmpty = ([name, value]: readonly unknown[]): boolean =>
    naming.has(String(name).replaceAll(/--|[<>]/g, "")) &&
    [value].flat().some((text) => typeof text === "string" && text.trim() === "");
  const empty = [...given, ...options].find(isEmpty);
  return (
    empty && new InvalidRequest(`${empty[0]} is empty`, { next: advice("check the variable, if it comes from one") })
  );
}

/** The fact of a wrong value, as settings word it: `--port is "abc"; allowed: whole number from 0 to 65535`. */
export function wrongValue(name: string, value: string, allowed: string): string {
  return `${name} is ${/^-?\d+(?:\.\d+)?$/.test(value) ? value : JSON.stringify(value)}; allowed: ${allowed}`;
}

/** Options that other programs have, by command, with those of ours that mean the same. */
const otherNames: Readonly<Record<string, string>> = { "serve --host": "--bind", "serve --address": "--bind" };

/** Rewrites commander's `error: unknown option '--rot'\n(Did you mean --root?)` in the form of our own messages. */
export function usageText(text: string, command: Command): string {
  const message = text.trim().replace(/^error: /, "");
  const [, unknown = ""] = /^unknown option '(-[\w-]+)/.exec(message) ?? [];
  const meant = otherNames[`${command.name()} ${unknown}`];
  if (meant !== undefined) return `ollm: unknown option '${unknown}'; did you mean ${meant}?`;
  return `ollm: ${oneLine(usages.reduce((worded, [pattern, ours]) => worded.replace(pattern, ours), message))}`;
}

/** Commander's sentences, and ours. */
const usages: readonly (readonly [RegExp, (...parts: string[]) => string])[] = [
  [/\n\(Did you mean (.+)\?\)$/, (_all, name = "") => `; did you mean ${name}?`],
  [
    /^option '(?:-\w, )?(--[\w-]+).*' argument '([^]*)' is invalid\. (?:Allowed choices are )?(.*?)\.?$/,
    (_all, name = "", value = "", allowed = "") => wrongValue(name, value, allowed),
  ],
  [
    /^command-argument value '([^]*)' is invalid for argument '(.*?)'\. (?:Allowed choices are )?(.*?)\.?$/,
    (_all, value = "", name = "", allowed = "") => wrongValue(`<${name}>`, value, allowed),
  ],
  [/^missing required argument '(.*)'$/, (_all, name = "") => `<${name}> is missing`],
  [
    /^option '(?:-\w, )?(--[\w-]+) (.*)' argument missing$/,
    (_all, name = "", value = "") => `${name} needs a value: ${name} ${value}`,
  ],
  [/^required option '(?:-\w, )?(--[\w-]+ .*)' not specified$/, (_all, option = "") => `${option} is missing`],
  [
    /^too many arguments for '(.*)'\. Expected (\d+) arguments? but got (\d+)\.$/,
    (_all, name = "", most = "", given = "") =>
      `${name} takes ${most === "0" ? "no arguments" : most === "1" ? "1 argument" : `${most} arguments`}, not ${given}`,
  ],
];

/** The command below `parent` that has this name or alias. */
export function commandNamed(parent: Command, name: string): Command | undefined {
  return parent.commands.find((each) => [each.name(), ...each.aliases()].includes(name));
}

/** Collects the values of a repeatable option. */
export function repeated(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

/** A line with a term and its description: `  --json    print ...`. */
const described = /^( +\S+(?: \S+)* {2,})(?=\S)/;
/** Narrower descriptions are not worth a column. */
const leastCells = 16;

/**
 * A page of help for a terminal of `columns` cells: wrapped at words, descriptions below themselves, headings bold.
 * Commands under "Examples" stay on one line, so that they can be copied. Without `columns` nothing is wrapped.
 */
export function helpText(page: string, io: Pick<CommandIo, "columns" | "hasColour">): string {
  let isExample = false;
  const lines = page.split("\n").map((line) => {
    const [heading] = /^(?:Usage:|[A-Z][A-Za-z ]*:$)/.exec(line) ?? [];
    if (/^\S/.test(line)) isExample = heading === "Examples:";
    const whole = isExample || io.columns === undefined || line.length < io.columns ? line : hang(line, io.columns);
    return heading === undefined ? whole : styled(heading, "bold", io) + whole.slice(heading.length);
  });
  return lines.join("\n");
}

function hang(line: string, columns: number): string {
  const [indentation = ""] = /^ */.exec(line) ?? [];
  const [, term = ""] = described.exec(line) ?? [];
  const lead =
    term !== "" && columns - term.length >= leastCells ? term : line.startsWith("Usage: ") ? "Usage: " : indentation;
  return hanging(lead, line.slice(lead.length), { columns: columns - 1 });
}

/** The commands that people need first, in the order in which they need them. */
const firstCommands = ["setup", "run", "chat", "compare", "models", "pull", "rm", "ps", "stop", "doctor"];

const footer = `
Examples:
  ollm pull smollm2:135m           download a small model
  ollm run smollm2:135m            chat with it
  ollm run "Why is the sky blue?"  ask the best model
  ollm setup                       add it to your assistants

More:
  ollm help                        all commands
  ollm help <command>              the options of a command
`;

/** What `ollm` alone prints in a terminal: at most 30 lines at 80 columns. */
export function firstScreen(program: Command, columns: number): string {
  const help = program.createHelp();
  help.visibleCommands = () =>
    firstCommands.flatMap((name) => program.commands.filter((command) => command.name() === name));
  help.visibleOptions = () => [];
  help.commandUsage = () => "ollm <command> [options]";
  help.groupItems = (_all, visible) => new Map([["Commands:", visible]]);
  help.prepareContext({ helpWidth: columns });
  return `${help.formatHelp(program, help)}${footer}`;
}
