import { InvalidArgumentError, type Command } from "commander";
import type { CommandIo } from "./commands/io.ts";

/** Hands a command's work what it needs, and takes its exit code. */
export type Run = (work: (io: CommandIo) => Promise<number>) => Promise<void>;

/** Of `--json`: one JSON value on stdout and nothing else there. */
export interface JsonOption {
  readonly json?: boolean;
}

/** `--json`, with what the value has: `models[{name ...}], total`. */
export function withJson(command: Command, shape: string): Command {
  return command.option("--json", `print one JSON value: ${shape}`);
}

/**
 * The examples of one command's help: the words, and what they do beside them, or below where the terminal is narrow.
 * They hold in any shell: double quotes around, single ones within.
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

/** A whole number between `least` and `most`. Throws what commander shows as wrong usage. */
export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };
}

/** A number between `least` and `most`, fractions allowed. Throws as `wholeNumber`. */
export function numberBetween(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
  };
}

/** Collects an option that may be given several times. */
export function repeated(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}
