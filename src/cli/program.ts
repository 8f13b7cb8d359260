import { realpathSync } from "node:fs";
import { inspect } from "node:util";
import { parseFlags } from "../orchestrator/config/flags.ts";
import { OrchestratorError } from "../orchestrator/api/errors.ts";
import { commandSteps } from "../next-steps/commands.ts";
import { build, version } from "../ipc/version.ts";
import type { CommandIo } from "./terminal/io.ts";
import { errorText, exitCodeOf, hasColours, terminalText } from "./terminal/terminal-text.ts";

/**
 * Runs the command `ollm` with the arguments `words`, except as a client's stdio server (`main.ts`).
 * Each command loads only what it needs. Resolves when the command is done or only serves. Exit codes: 0 done, 1 failed
 * or refused, 2 wrong usage, 130 interrupted.
 */
export async function runProgram(words: readonly string[]): Promise<void> {
  try {
    // Internal: started by fronts, with its output in the daemon's log.
    if (words[0] === "daemon" && words[1] === "run") {
      const flags = parseFlags(words.slice(2));
      await (await import("../server/daemon/main.ts")).runDaemon({ version, build }, flags);
      return;
    }
    await runCommand(words);
  } catch (error) {
    fail(error);
  }
}

async function runCommand(words: readonly string[]): Promise<void> {
  const [{ createCommands, usageError }, { firstScreen, helpText }, { processIo }] = await Promise.all([
    import("./commands/index.ts"),
    import("./commands/options.ts"),
    import("./terminal/io.ts"),
  ]);
  // npm starts the command through a link, which is removed with the package.
  const io = processIo(realpathSync(process.argv[1] ?? ""));
  const program = createCommands(async (work) => {
    process.exitCode = await work(io);
  });
  // Internal: asked by the scripts of `ollm completion`.
  if (words[0] === "__complete") {
    await (await import("./commands/complete.ts")).complete(program, words.slice(1), io);
    return;
  }
  if (words.length === 0) {
    io.stdout(helpText(firstScreen(program, (io.columns ?? 81) - 1), io));
    return;
  }
  try {
    await program.parseAsync(await withFiles(words, io), { from: "user" });
  } catch (error) {
    const exitCode = usageError(error);
    if (exitCode === undefined) throw error;
    process.exitCode = exitCode;
  }
}

/** The words with `--file` before each file of several. */
async function withFiles(words: readonly string[], { workingDirectory }: CommandIo): Promise<readonly string[]> {
  if (!words.some((word) => /^(?:-f|--file|--image|--for-each)/.test(word))) return words;
  const { isFileIn, withRepeatedFiles } = await import("./commands/prompt-words.ts");
  return withRepeatedFiles(words, (name) => isFileIn(name, workingDirectory));
}

/** Prints an error on stderr and sets the exit code: 2 for wrong usage, 130 for an interrupt, else 1. */
export function fail(error: unknown): void {
  process.stderr.write(
    terminalText(
      errorText(error instanceof OrchestratorError ? error : { message: inspect(error) }, commandSteps, {
        hasErrorColour: hasColours(process.stderr),
        errorColumns: process.stderr.isTTY ? process.stderr.columns || 80 : undefined,
      }),
    ),
  );
  process.exitCode = exitCodeOf(error);
}
