/** The check `{ command }`: a program that the user named in the settings says whether an answer passes. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { InvalidRequest, throwIfCancelled } from "../api/errors.ts";
import { withoutControls } from "../util/control-characters.ts";
import { usualFolders } from "../util/programs.ts";
import { runProgram } from "../util/programs.ts";

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
    const end = await runProgram(
      {
        command: [...command.command, file],
        folder,
        variables: variables(command.command[0] ?? "", folder),
        timeoutSeconds: command.timeout,
        maxCharacters: maxOutputCharacters,
      },
      signal,
    );
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

/** The folder of the program and those of the system, but not our own search path, which `npx` extends by a project's. */
function variables(program: string, folder: string): Readonly<Record<string, string>> {
  const own = path.dirname(program);
  if (process.platform === "win32") {
    const root = process.env["SystemRoot"] ?? "C:\\Windows";
    const search = [own, path.join(root, "System32"), root].join(path.delimiter);
    return { SystemRoot: root, PATH: search, USERPROFILE: folder, TEMP: folder, TMP: folder };
  }
  return { PATH: [own, ...usualFolders, "/bin"].join(path.delimiter), HOME: folder, TMPDIR: folder, LC_ALL: "C.UTF-8" };
}
