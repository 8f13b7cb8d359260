import { InvalidArgumentError, type Command } from "commander";
import type { CommandIo } from "./terminal/io.ts";
import { hanging, styled } from "./terminal/terminal-text.ts";

/** Runs a command with its surroundings and sets the exit code that it returns. */
export type Run = (work: (io: CommandIo) => Promise<number>) => Promise<void>;

/** The option `--json`: print one JSON value to stdout and nothing else. */
export interface JsonOption {
  readonly json?: boolean;
}

/** Adds `--json`; `shape` names the fields of the value: `models[{name ...}], total`. */
export function withJson(command: Command, shape: string): Command {
  return command.option("--json", `print one JSON value: ${shape}`);
}

/**
 * Adds examples to a command's help, each with its meaning beside it, or below it on a narrow terminal. Quote with double
 * quotes, so that they work in every shell.
 */
export function withExamples(
  command: Command,
  examples: readonly (readonly [words: string, meaning: string])[],
): Command {
  const width = Math.max(...examples.map(([words]) => words.length));
  const widest = Math.max(...examples.map(([, meaning]) => `  ${" ".repeat(width)}  ${meaning}`.length));
  return command.addHelpText("after", () => {
    const room = command.configureOutput().getOutHelpWidth?.() ?? 80;
    const lines = examples.map(([words, meaning]) =>
      widest > room ? `  ${words}\n      ${meaning}` : `  ${words.padEnd(width)}  ${meaning}`,
    );
    return `\nExamples:\n${lines.join("\n")}\n`;
  });
}

/** A whole number between `least` and `most`. Throws `InvalidArgumentError`, a usage error. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

/** A number between `least` and `most`, fractions allowed. Throws like `wholeNumber`. */
export function numberBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
  };
}

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
