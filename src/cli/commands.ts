import { Command, CommanderError, Option } from "commander";
import { resolve } from "node:path";
import { InvalidRequest } from "../orchestrator/errors.ts";
import { version } from "../version.ts";
import type { CommandIo } from "./commands/io.ts";

/** Hands a command's work what it needs, and takes its exit code. */
export type Run = (work: (io: CommandIo) => Promise<number>) => Promise<void>;

const examples = `
Examples:
  ollm setup                             find the assistants on this machine and add the server to them
  ollm doctor                            what is missing, and what to do about it
  ollm import ./model.gguf my-model      take a GGUF file into the model store
  ollm serve --port 7411                 let programs connect over HTTP, with a token
  claude mcp add ollm -- ollm --root ~/projects

Without arguments, where stdin is not a terminal, this is the MCP server that an assistant starts: it connects to the
one owner of the models, and starts it when there is none.

Settings: OLLM_HOME/config.yaml and OLLM_* variables; OLLM_HOME is ~/.ollm unless that variable names another folder.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted.
`;

/**
 * The commands with their options and help. Each command's module is loaded when it runs. Parsing throws
 * `CommanderError` for wrong usage and for help that was asked for: see `usageError`.
 */
export function createCommands(run: Run): Command {
  const program = new Command("ollm")
    .description("The brain for the local language models of this machine, for MCP hosts.")
    .usage("[server options]\n       ollm <command> [options]")
    .version(version, "-v, --version", "print the version")
    .helpOption("-h, --help", "show help, also of one command: ollm serve --help")
    .helpCommand(false)
    // A command's own --root is not the server's.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`${readable(text)}\n  ollm --help lists commands and options\n`),
    })
    .addHelpText("after", examples);
  for (const option of serverOptions()) program.addOption(option.helpGroup("Server options:"));
  program.hook("preAction", (_program, command) => {
    const given = Object.keys(program.opts());
    if (given.length === 0) return;
    throw new InvalidRequest(`--${dashed(given[0] ?? "")} is an option of the server, not of ollm ${pathOf(command)}`, {
      hint: `ollm ${pathOf(command)} --help lists its options`,
    });
  });

  program.commandsGroup("Set up:");
  program.commandsGroup("Models:");
  program
    .command("import")
    .argument("<file>", "a GGUF file")
    .argument("<name>", "the name it gets: my-model, my-model:7b")
    .description("take a local GGUF file into the model store")
    .action((file: string, name: string) =>
      run(async (io) =>
        (await import("./commands/import.ts")).importModel(resolve(io.workingDirectory, file), name, io),
      ),
    );
  return program;
}

/** The exit code of an error by which commander ends: 0 for help and version, 2 for wrong usage. Others: undefined. */
export function usageError(error: unknown): number | undefined {
  if (!(error instanceof CommanderError)) return undefined;
  return error.exitCode === 0 ? 0 : 2;
}

/** The flags of `orchestrator/config/flags.ts`, for people; a test keeps both the same. */
function serverOptions(): readonly Option[] {
  return [
    new Option("--root <folder>", "folder whose files tools may read and write; repeatable"),
    new Option("--model <name>", "model used when a request names none"),
    new Option("--host <url>", "address of the Ollama server (default: http://127.0.0.1:11434)"),
    new Option("--temperature <number>", "sampling temperature, 0 to 2 (default: the model's own)"),
    new Option("--max-tokens <number>", "most tokens of one answer (default: 4096)"),
    new Option("--context-size <tokens>", "at least this much context (default: what the prompt needs)"),
    new Option("--standalone", "owner and server in this one process, sharing with nobody"),
  ];
}

/** `error: unknown option '--rot'\n(Did you mean --root?)` as the other messages of the command look. */
function readable(text: string): string {
  return `ollm: ${text
    .trim()
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean (.+)\?\)$/, "; did you mean $1?")}`;
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent?.parent ? `${pathOf(parent)} ${command.name()}` : command.name();
}

function dashed(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
