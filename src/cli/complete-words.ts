import type { Argument, Command, Option } from "commander";
import { commandNamed } from "./command-options.ts";

/** A word that may stand at the cursor, and its meaning. */
export interface Candidate {
  readonly word: string;
  readonly meaning?: string;
}

/** What may stand at the cursor: words, or names that have to be looked up, each after `prefix` (`--model=`). */
export interface Completion {
  readonly prefix: string;
  readonly wanted: readonly Candidate[] | "models" | "settings" | "files";
}

/**
 * What may follow the complete words `before` in place of `current`, which may be empty. An argument or a value takes
 * models, settings, files or commands by the name that its help gives it.
 */
export function completionOf(program: Command, before: readonly string[], current: string): Completion {
  const place = placeAfter(program, before);
  const { command, valueOf, hasOptions } = place;
  const plain = (wanted: Completion["wanted"]): Completion => ({ prefix: "", wanted });
  if (valueOf !== undefined) return plain(valuesOf(valueOf, program, []));
  if (hasOptions && current.startsWith("-")) {
    const [name = "", value] = current.split(/(?<==)/);
    const option = command.options.find(({ long }) => `${long}=` === name);
    if (value === undefined && !name.endsWith("=")) return plain(optionsOf(command));
    return { prefix: name, wanted: option === undefined ? [] : valuesOf(option, program, []) };
  }
  if (command.commands.length > 0) return plain(place.operands.length === 0 ? commandsOf(command) : []);
  const argument = command.registeredArguments[place.operands.length] ?? command.registeredArguments.at(-1);
  const isOpen =
    argument !== undefined && (argument.variadic || place.operands.length < command.registeredArguments.length);
  if (isOpen) return plain(valuesOf(argument, program, place.operands));
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

function placeAfter(program: Command, before: readonly string[]): Place {
  let place: Place = { command: program, operands: [], valueOf: undefined, hasOptions: true };
  for (const word of before) place = next(place, word);
  return place;
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
  switch (name) {
    case "model":
    case "models":
      return "models";
    case "setting":
      return "settings";
    case "file":
    case "folder":
    case "path":
      return "files";
    case "command":
      return commandsOf(operands.reduce((parent, word) => commandNamed(parent, word) ?? parent, program));
    default:
      return [];
  }
}

function commandsOf(command: Command): readonly Candidate[] {
  const visible = command.createHelp().visibleCommands(command);
  return visible.map((each) => ({ word: each.name(), meaning: each.summary() || each.description() }));
}

function optionsOf(command: Command): readonly Candidate[] {
  const visible = command.createHelp().visibleOptions(command);
  return visible.map(({ long, short, description }) => ({ word: long ?? short ?? "", meaning: description }));
}
