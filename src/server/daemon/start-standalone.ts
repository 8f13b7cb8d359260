import { parseFlags, type Flags } from "../../orchestrator/config/flags.ts";
import { version } from "../../ipc/version.ts";
import { serveClient } from "./serve-client.ts";
import { runStandalone } from "./standalone.ts";

/** Handles arguments that are not the server's flags, and a failed start. */
export interface Program {
  runProgram(words: readonly string[]): Promise<void>;
  fail(error: unknown): void;
}

/** What `runStandalone` loads last. Exported here so that all files of a start are read at once, since its client waits. */
export { serveClient };

/**
 * `ollm --standalone` with the server's flags, as clients start it. Other arguments go to the program, which reports them
 * with the nearest valid name.
 */
export async function startStandalone(words: readonly string[], program: () => Promise<Program>): Promise<void> {
  let flags: Flags;
  try {
    flags = parseFlags(words);
  } catch {
    await (await program()).runProgram(words);
    return;
  }
  try {
    await runStandalone(version, flags);
  } catch (error) {
    (await program()).fail(error);
  }
}
