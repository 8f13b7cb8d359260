import { spawn } from "node:child_process";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import { build } from "../../ipc/version.ts";
import { isAccidentalWholeDisk, resolveHome } from "../../orchestrator/config/home.ts";
import { type FrontOptions, runFront } from "./front.ts";

/** Time for a front to end after its input has closed. */
const endMs = 3_000;

/**
 * A front in this process: a command of the shell is a client like any other, but needs no second process. It returns all
 * failures as data and prints neither them nor that it starts a daemon: the shell shows its errors itself. A home that no
 * daemon can use is served by a standalone server, which is a process of its own.
 */
export function startShellFront({
  script,
  userHome,
  roots,
  say,
  ...options
}: Pick<FrontOptions, "node" | "environment" | "workingDirectory" | "say"> & {
  /** The command's own file. */
  readonly script: string;
  readonly userHome: string;
  /** Folders that the user named explicitly: their files may be read. */
  readonly roots: readonly string[];
}) {
  // `/.` for `/`: the server takes `/` for an unset variable, but here it is the folder of a file that the user named.
  const words = roots.flatMap((folder) => ["--root", isAccidentalWholeDisk(folder, folder) ? `${folder}.` : folder]);
  const input = new PassThrough();
  const output = new PassThrough();
  const stopped = new AbortController();
  const ended = new Promise<void>((resolve) => stopped.signal.addEventListener("abort", () => resolve()));
  const exit = (): void => {
    output.end();
    stopped.abort();
  };
  const sayLines = (text: string): void => {
    for (const line of text.split("\n")) say(line);
  };
  const running = runFront({
    ...options,
    words,
    home: resolveHome(options.environment, userHome, options.workingDirectory),
    program: { folder: dirname(script), version: build },
    signal: stopped.signal,
    isForShell: true,
    say: (text) => sayLines(`ollm: ${text}`),
    loadRescue: async () => (await import("./rescue.ts")).rescue,
    serveStandalone() {
      const child = spawn(options.node, [script, "--standalone", ...words], {
        env: options.environment,
        cwd: options.workingDirectory,
        stdio: ["pipe", "pipe", "pipe"],
        // Ctrl-C at the terminal reaches only us, and we cancel the call first.
        detached: true,
        windowsHide: true,
      });
      createInterface({ input: child.stderr }).on("line", say);
      child.stdin.on("error", () => undefined);
      input.pipe(child.stdin);
      child.stdout.pipe(output);
      child.once("close", exit);
      child.once("error", exit);
      stopped.signal.addEventListener("abort", () => child.kill("SIGKILL"));
      return Promise.resolve();
    },
    openStreams: () => ({ input, output }),
    exit,
  });
  running.catch((error: unknown) => output.destroy(error instanceof Error ? error : new Error(String(error))));
  return {
    input: output,
    output: input,
    /** Closes the connection, and waits for what is under way; not longer than `endMs`. */
    async close(): Promise<void> {
      input.end();
      // Drained, so that the last answers don't hold the front.
      output.resume();
      const timer = setTimeout(() => {
        output.destroy();
        exit();
      }, endMs);
      await ended;
      clearTimeout(timer);
    },
  };
}
