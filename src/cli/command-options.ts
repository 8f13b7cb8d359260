import { InvalidArgumentError, type Command } from "commander";
import type { CommandIo } from "./commands/io.ts";

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

/** Collects the values of a repeatable option. */
export function repeated(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}
