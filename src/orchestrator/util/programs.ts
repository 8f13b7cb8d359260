import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type ChildProcess, spawn } from "node:child_process";
import { defined, messageOf } from "./values.ts";

/** The oldest supported Node, as in `engines` of package.json. */
export const oldestNode = "20.19";

/** Whether a version (`v22.3.0`, `22.3.0`) is at least `oldestNode`; false for other text. */
export function isNewEnough(version: string): boolean {
  const [major = NaN, minor = NaN] = version.trim().replace(/^v/, "").split(".").map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = oldestNode.split(".").map(Number);
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}

/** Where installers put programs on Linux and macOS. Desktop clients start us with a minimal PATH. */
export const usualFolders = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/opt/local/bin"] as const;

/**
 * A Node executable for our child processes: this process's own, unless it is an Electron helper, which can't be started
 * as Node; then one on the PATH or in an installer's usual folder. Undefined when there is none.
 */
export function findNode(
  program: {
    readonly execPath: string;
    readonly isElectron: boolean;
    readonly platform: NodeJS.Platform;
    readonly searchPath: string;
  },
  isExecutable: (file: string) => boolean = canExecute,
): string | undefined {
  if (!program.isElectron) return program.execPath;
  const { join, delimiter } = program.platform === "win32" ? path.win32 : path.posix;
  const name = program.platform === "win32" ? "node.exe" : "node";
  const usual = program.platform === "win32" ? ["C:\\Program Files\\nodejs"] : usualFolders;
  const folders = [...program.searchPath.split(delimiter).filter((folder) => folder !== ""), ...usual];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** Whether a file exists and this user may execute it. */
export function canExecute(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The path of a file beside the built command. This code is bundled into `dist/chunks/` or `dist/`, or runs from
 * `src/orchestrator/util/` (`npm run dev`): the first of those `dist` folders that has the file is used.
 */
export function builtFile(name: string): string {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const folders = [here, path.join(here, ".."), path.join(here, "..", "..", "..", "dist")];
  const found = folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
  return found ?? path.join(here, name);
}

/** A process outside the group may hold the output open. */
const closeMs = 1_000;

/**
 * Runs a program without a shell: with how it failed (`exit code 1`), or why it never ran. Its process group ends with it, after its time,
 * and with `signal`. Never rejects.
 */
export function runProgram(
  given: {
    readonly command: readonly string[];
    readonly folder: string;
    readonly variables: Readonly<Record<string, string>>;
    readonly timeoutSeconds: number;
    /** Kept of what it prints; the rest is read and dropped. */
    readonly maxCharacters: number;
    /** Which of it is kept; default: the first. */
    readonly keeps?: "last";
  },
  signal: AbortSignal,
): Promise<{ readonly output: string; readonly how?: string; readonly failure?: string }> {
  const { folder, variables, timeoutSeconds, maxCharacters, keeps } = given;
  const [program = "", ...args] = given.command;
  return new Promise((resolve) => {
    let output = "";
    let how: string | undefined;
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        cwd: folder,
        env: variables,
        stdio: ["ignore", "pipe", "pipe"],
        windowsHide: true,
        // A process group of its own, which ends as a whole. On Windows it would open a window.
        detached: process.platform !== "win32",
      });
    } catch (error) {
      return resolve({ output, failure: messageOf(error) });
    }
    const take = (text: string): void => {
      output = keeps === "last" ? (output + text).slice(-maxCharacters) : (output + text).slice(0, maxCharacters);
    };
    child.stdout?.setEncoding("utf8").on("data", take);
    child.stderr?.setEncoding("utf8").on("data", take);
    const stop = (reason: string): void => {
      how ??= reason;
      endGroup(child);
    };
    const cancel = (): void => stop("cancelled");
    const timer = setTimeout(() => stop(`it did not end within ${timeoutSeconds} s`), timeoutSeconds * 1_000);
    const finish = (failure?: string): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", cancel);
      resolve(defined({ output, how, failure }));
    };
    child.on("error", (error) => finish(error.message));
    child.on("exit", (code, ending) => {
      if (code !== 0) how ??= code === null ? `it ended by ${ending}` : `exit code ${code}`;
      endGroup(child);
      const late = setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, closeMs);
      child.on("close", () => {
        clearTimeout(late);
        finish();
      });
    });
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
  });
}

/** Ends the program and what it started. */
function endGroup(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  if (process.platform === "win32") {
    if (child.exitCode !== null) return;
    const program = path.join(process.env["SystemRoot"] ?? "C:\\Windows", "System32", "taskkill.exe");
    spawn(program, ["/pid", `${pid}`, "/t", "/f"], { stdio: "ignore", windowsHide: true }).on("error", () =>
      child.kill("SIGKILL"),
    );
    return;
  }
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Its last process has ended.
  }
}
