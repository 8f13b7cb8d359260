import { statSync } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { expandHome } from "../orchestrator/config/expand-home.ts";
import type { Flags } from "../orchestrator/config/load.ts";
import { InvalidRequest, OrchestratorError } from "../orchestrator/errors.ts";
import { version } from "../version.ts";
import { parseCommandLine, type Command } from "./command-line.ts";

async function run(command: Command): Promise<void> {
  switch (command.name) {
    case "version":
      process.stdout.write(`${version}\n`);
      return;
    case "help":
      process.stdout.write((await import("./help.ts")).help);
      return;
    case "serve": {
      const flags = checkedFlags(command.flags);
      (await import("../server/standalone.ts")).runStandalone(version, flags);
      return;
    }
    case "import": {
      const { importModel } = await import("./import-model.ts");
      process.exitCode = await importModel(resolve(command.file), command.model, process.argv[1] ?? "");
    }
  }
}

/** A root that is missing is a slip of the pen that would show much later, as a refusal. */
function checkedFlags(flags: Flags): Flags {
  const roots = flags.roots?.map((given) => {
    const folder = resolve(expandHome(given, homedir()));
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
      throw new InvalidRequest(`--root ${given} is not a folder`, { hint: "Name an existing folder." });
    }
    return folder;
  });
  return { ...flags, ...(roots !== undefined && { roots }) };
}

/** Wrong usage is 2, as with other commands; failures of the work are 1. */
function fail(error: unknown): void {
  const isOurs = error instanceof OrchestratorError;
  const text = isOurs ? [error.message, error.hint].filter((part) => part !== undefined).join("\n  ") : error;
  console.error("ollm:", text);
  process.exitCode = isOurs ? 2 : 1;
}

/**
 * Everything the command `ollm` does but being a host's stdio server through the owner: `words` are its arguments. Thin:
 * what a command needs is loaded by that command alone. Resolves when it has nothing left to do but serve.
 */
export async function runProgram(words: readonly string[]): Promise<void> {
  try {
    await run(parseCommandLine(words, process.stdin.isTTY));
  } catch (error) {
    fail(error);
  }
}
