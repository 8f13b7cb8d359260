import { realpathSync } from "node:fs";
import { inspect } from "node:util";
import { parseFlags } from "../orchestrator/config/flags.ts";
import { Cancelled, InvalidRequest, OrchestratorError } from "../orchestrator/errors.ts";
import { build, version } from "../version.ts";
import { errorText, terminalText } from "./terminal-text.ts";

/**
 * Everything the command `ollm` does but being a client's stdio server through the daemon: `words` are its arguments.
 * Thin: what a command needs is loaded by that command alone. Resolves when it has nothing left to do but serve. Exit
 * codes: 0 done, 1 failed or refused, 2 wrong usage, 130 interrupted.
 */
export async function runProgram(words: readonly string[]): Promise<void> {
  try {
    // Hidden: fronts start it, with its output in the daemon's log.
    if (words[0] === "daemon" && words[1] === "run") {
      const flags = parseFlags(words.slice(2));
      await (await import("../server/daemon/main.ts")).runDaemon({ version, build }, flags);
      return;
    }
    if (isServer(words))
      await (
        await import("../server/start-standalone.ts")
      ).startStandalone(words, () => Promise.resolve({ runProgram, fail }));
    else await runCommand(words);
  } catch (error) {
    fail(error);
  }
}

/** Nothing but flags of the server: that is how clients start it, and they wait. All else is a command's. */
function isServer(words: readonly string[]): boolean {
  if (words.length === 0) return !process.stdin.isTTY;
  try {
    parseFlags(words);
    return true;
  } catch {
    // The commands' parser tells what is wrong, with the nearest name.
    return false;
  }
}

async function runCommand(words: readonly string[]): Promise<void> {
  const [{ createCommands, usageError }, { processIo }] = await Promise.all([
    import("./commands.ts"),
    import("./commands/io.ts"),
  ]);
  // npm starts us through a link, which is gone when the package is.
  const io = processIo(realpathSync(process.argv[1] ?? ""));
  const program = createCommands(async (work) => {
    process.exitCode = await work(io);
  });
  if (words.length === 0) {
    program.outputHelp();
    return;
  }
  try {
    await program.parseAsync(words, { from: "user" });
  } catch (error) {
    const exitCode = usageError(error);
    if (exitCode === undefined) throw error;
    process.exitCode = exitCode;
  }
}

/** Says why on stderr and sets the exit code: wrong usage is 2, as with other commands; failures of the work are 1. */
export function fail(error: unknown): void {
  process.stderr.write(
    terminalText(errorText(error instanceof OrchestratorError ? error : { message: inspect(error) })),
  );
  process.exitCode = error instanceof InvalidRequest ? 2 : error instanceof Cancelled ? 130 : 1;
}
