import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { Cancelled, LoadFailed } from "../../../api/errors.ts";
import type { Environment } from "./npmrc.ts";
import { useOllama } from "./platform.ts";

/** The first start takes half a second, but longer with cold disks and virus scanners. */
const trialLimitMs = 60_000;
const keptOutputCharacters = 2_000;

/** Loads the module and the native binaries in the same way as the engine's child process. */
const script = `
process.stdin.on("close", () => process.exit(1)).resume(); // the parent process has ended
const { getLlama } = await import(process.argv[2]);
const llama = await getLlama({ build: "never", skipDownload: true, logLevel: "error" });
await llama.dispose();
process.exit(0);
`;

export interface TrialOptions {
  /** Absolute path of the module to import. */
  readonly modulePath: string;
  /** Absolute path for the script. A file, because the engine's own test process would inherit flags like --eval and fail. */
  readonly scriptFile: string;
  /** The program that runs it. */
  readonly execPath: string;
  readonly environment: Environment;
  readonly signal: AbortSignal;
  readonly limitMs?: number;
}

/**
 * Imports the engine once in a child process, to detect binaries that don't run on this machine without a crash of this
 * process. Throws `LoadFailed` with the child's error, and `Cancelled`; the child has ended in every case.
 */
export async function runTrial(options: TrialOptions): Promise<void> {
  const { execPath, modulePath, scriptFile, signal, limitMs = trialLimitMs } = options;
  await writeFile(scriptFile, script, { mode: 0o600, signal });
  const limit = AbortSignal.timeout(limitMs);
  const child = spawn(execPath, [scriptFile, pathToFileURL(modulePath).href], {
    stdio: ["pipe", "pipe", "pipe"],
    windowsHide: true,
    killSignal: "SIGKILL",
    signal: AbortSignal.any([signal, limit]),
    // A desktop client's own program runs JavaScript only with this variable.
    env: { ...options.environment, ELECTRON_RUN_AS_NODE: "1" },
  });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-keptOutputCharacters);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  let failure: unknown;
  child.on("error", (error) => {
    failure = error; // not started, or killed by the signal
  });
  // `close` follows the end of both outputs, also when the program could not be started.
  const { code, killedBy } = await new Promise<{ code: number | null; killedBy: NodeJS.Signals | null }>((resolve) => {
    child.once("close", (exitCode, exitSignal) => resolve({ code: exitCode, killedBy: exitSignal }));
  });
  if (signal.aborted) throw new Cancelled("installing the embedded engine was cancelled", { cause: signal.reason });
  if (code === 0) return;
  const reason = limit.aborted
    ? `it did not start within ${limitMs / 1000} s`
    : killedBy !== null
      ? `its process was ended by ${killedBy}`
      : (lastLine(output) ?? (failure instanceof Error ? failure.message : `its process ended with code ${code}`));
  throw new LoadFailed(`the embedded engine was downloaded but does not run on this machine: ${reason}`, {
    next: useOllama,
    cause: failure ?? output,
  });
}

/** Returns the message of an uncaught error, else the last line that is neither a stack frame nor Node's version. */
function lastLine(output: string): string | undefined {
  const lines = output.split(/\r?\n/).map((line) => line.trim());
  return (
    lines.find((line) => /^(?:\w*Error|\w*Exception)\b.*: /.test(line)) ??
    lines.findLast((line) => line !== "" && !/^at |^Node\.js v/.test(line))
  );
}
