/** The check `{ command }`: a program that the user named in the settings says whether an answer passes. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { InvalidRequest, throwIfCancelled } from "../api/errors.ts";
import { defined } from "../util/defined.ts";
import { withoutControls } from "../util/control-characters.ts";
import { messageOf } from "../util/message-of.ts";
import { usualFolders } from "../util/node-executable.ts";

/** The setting `checks`. */
export type Commands = Readonly<
  Record<
    string,
    {
      /** Program and arguments. */
      readonly command: readonly string[];
      /** Name of the answer's file. */
      readonly file: string;
      readonly timeout: number;
    }
  >
>;

/** Kept of what a command prints; the rest is read and dropped. */
const maxOutputCharacters = 2_000;
/** A process outside the group may hold the output open. */
const closeMs = 1_000;

/** The command of that name. Throws `InvalidRequest`, with the names that there are. */
export function namedCommand(checks: Commands, name: string): Commands[string] {
  const named = Object.hasOwn(checks, name) ? checks[name] : undefined;
  if (named !== undefined) return named;
  const names = Object.keys(checks);
  throw new InvalidRequest(
    names.length === 0
      ? `no command is named ${JSON.stringify(name)}: the setting checks names none`
      : `no command is named ${JSON.stringify(name)} in the setting checks`,
    {
      next: [
        ...(names.length === 0 ? [] : [{ step: "chooseOneOf", names } as const]),
        { step: "askUserToSet", setting: "checks" },
        { step: "omitArgument", argument: "check" },
      ],
    },
  );
}

/**
 * Runs the command on a file with the answer, which is its last argument: without a shell, in a temporary folder that holds
 * nothing else and is its home, with few variables. Its process group ends with it, after its time, and with `signal`.
 * Throws `Cancelled`.
 */
export async function runCommand(
  name: string,
  command: Commands[string],
  answer: string,
  signal: AbortSignal,
): Promise<{
  /** Completes "the answer": `did not pass python (exit code 1): ...`; absent if it passed. */
  readonly problem?: string;
  /** It never ran, so nothing is known of the answer. */
  readonly isUnchecked?: true;
}> {
  throwIfCancelled(signal, "the request");
  const folder = await mkdtemp(path.join(tmpdir(), "ollm-check-"));
  try {
    const file = path.join(folder, command.file);
    await writeFile(file, answer, { mode: 0o600 });
    const end = await ended(command, file, signal);
    throwIfCancelled(signal, "the request");
    const output = withoutControls(end.output)
      .replaceAll(folder + path.sep, "")
      .trim();
    if (end.failure !== undefined) {
      const problem = `was not checked: ${name} could not be started (${end.failure})`;
      return { problem, isUnchecked: true };
    }
    return end.how === undefined
      ? {}
      : { problem: `did not pass ${name} (${end.how})${output === "" ? "" : `: ${output}`}` };
  } finally {
    // On Windows a program that just ended may still hold it.
    await rm(folder, { recursive: true, force: true, maxRetries: 5 }).catch(() => undefined);
  }
}

/** With how it failed (`exit code 1`), or why it never ran. Never rejects. */
function ended(
  { command, timeout }: Commands[string],
  file: string,
  signal: AbortSignal,
): Promise<{ readonly output: string; readonly how?: string; readonly failure?: string }> {
  const [program = "", ...args] = command;
  return new Promise((resolve) => {
    let output = "";
    let how: string | undefined;
    let child: ChildProcess;
    try {
      child = spawn(program, [...args, file], {
        cwd: path.dirname(file),
        env: variables(program, path.dirname(file)),
        stdio: ["ignore", "pipe", "pipe"],
        windowsHide: true,
        // A process group of its own, which ends as a whole. On Windows it would open a window.
        detached: process.platform !== "win32",
      });
    } catch (error) {
      return resolve({ output, failure: messageOf(error) });
    }
    const take = (text: string): void => {
      output = (output + text).slice(0, maxOutputCharacters);
    };
    child.stdout?.setEncoding("utf8").on("data", take);
    child.stderr?.setEncoding("utf8").on("data", take);
    const stop = (reason: string): void => {
      how ??= reason;
      endGroup(child);
    };
    const cancel = (): void => stop("cancelled");
    const timer = setTimeout(() => stop(`it did not end within ${timeout} s`), timeout * 1_000);
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

/** Ends the command and what it started. */
function endGroup(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  if (process.platform === "win32") {
    if (child.exitCode !== null) return;
    const program = path.join(windowsFolder(), "System32", "taskkill.exe");
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

const windowsFolder = (): string => process.env["SystemRoot"] ?? "C:\\Windows";

/** The folder of the program and those of the system, but not our own search path, which `npx` extends by a project's. */
function variables(program: string, folder: string): NodeJS.ProcessEnv {
  const own = path.dirname(program);
  if (process.platform === "win32") {
    const root = windowsFolder();
    const search = [own, path.join(root, "System32"), root].join(path.delimiter);
    return { SystemRoot: root, PATH: search, USERPROFILE: folder, TEMP: folder, TMP: folder };
  }
  return { PATH: [own, ...usualFolders, "/bin"].join(path.delimiter), HOME: folder, TMPDIR: folder, LC_ALL: "C.UTF-8" };
}
