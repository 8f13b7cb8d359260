import { execFile } from "node:child_process";
import { realpathSync } from "node:fs";
import { devNull } from "node:os";
import path from "node:path";
import { Cancelled, InvalidRequest } from "../../orchestrator/api/errors.ts";
import { advice } from "../../orchestrator/api/next-step.ts";
import { canExecute, usualFolders } from "../../orchestrator/util/programs.ts";
import { isInside } from "../../orchestrator/util/file-name.ts";
import { orUndefined } from "../../orchestrator/util/values.ts";

/** How git is run for one call. */
export interface GitOptions {
  /** Environment of this process; git gets only a few of its variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The user's home folder: its `safe.directory` and line endings apply. */
  readonly homeDirectory: string;
  /** Ends git. */
  readonly signal: AbortSignal;
  /** For one run of git. Default 30,000. */
  readonly timeoutMs?: number;
}

export interface GitOutput {
  readonly exitCode: number;
  readonly stdout: Buffer;
  /** At most its first 4,000 characters. */
  readonly stderr: string;
}

const defaultTimeoutMs = 30_000;
const maxErrorCharacters = 4_000;

/** `rev-parse` has `--end-of-options` since then. */
const oldest = [2, 30] as const;

/** Variables that programs need to start, and to find their temporary folder. */
const passedOn = ["SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "TMPDIR", "TMP", "TEMP", "LD_LIBRARY_PATH"];

const gitFolders = process.platform === "win32" ? ["C:\\Program Files\\Git\\cmd"] : usualFolders;

/** Never the current folder, nor one in `foreign`, which may be a stranger's: `npx` adds `node_modules/.bin` of a project. */
function searchPath(environment: GitOptions["environment"], foreign: string): readonly string[] {
  const folders = (environment["PATH"] ?? environment["Path"] ?? "").split(path.delimiter);
  const isOwn = (folder: string): boolean => path.isAbsolute(folder) && !isInside(foreign, realOf(folder));
  return [...folders.filter(isOwn), ...gitFolders];
}

const realOf = (folder: string): string => orUndefined(() => realpathSync(folder)) ?? folder;

/** The absolute path of git. */
function findGit({ environment }: GitOptions, foreign: string): string {
  const name = process.platform === "win32" ? "git.exe" : "git";
  const found = searchPath(environment, foreign)
    .map((folder) => path.join(folder, name))
    .find(canExecute);
  if (found !== undefined) return found;
  throw new InvalidRequest("git was not found on this machine", {
    next: [advice("install git"), advice("name files instead")],
  });
}

/** Programs whose version was checked. */
const checked = new Set<string>();

async function checkVersion(program: string, options: GitOptions): Promise<void> {
  if (checked.has(program)) return;
  const { stdout } = await start(program, ["version"], {
    folder: path.parse(program).root,
    variables: {},
    options,
    maxBytes: 10_000,
  });
  const [, version = "", major = "0", minor = "0"] = /version ((\d+)\.(\d+)\S*)/.exec(stdout.toString()) ?? [];
  const isTooOld = Number(major) < oldest[0] || (Number(major) === oldest[0] && Number(minor) < oldest[1]);
  if (isTooOld) {
    throw new InvalidRequest(`git ${version === "" ? "of an unknown version" : version} can't be used`, {
      next: advice(`install git ${oldest.join(".")} or newer`),
    });
  }
  checked.add(program);
}

/**
 * Runs git without a shell, for a command that only reads. It gets the given variables and those above, none that begin
 * with `GIT_` or name a program. Throws `InvalidRequest` without git, when it is too old, and after the time limit;
 * `Cancelled`. Resolves to undefined when there are more than `maxBytes` of output.
 */
export async function runGit(
  args: readonly string[],
  run: {
    readonly folder: string;
    readonly variables: Readonly<Record<string, string>>;
    readonly options: GitOptions;
    readonly maxBytes: number;
  },
): Promise<GitOutput | undefined> {
  const program = findGit(run.options, run.folder);
  await checkVersion(program, run.options);
  // Commands that only read run no hooks; these would apply if one did.
  const all = ["--no-pager", "-c", `core.hooksPath=${devNull}`, "-c", "core.fsmonitor=false", ...args];
  const output = await start(program, all, run);
  return output.isCut ? undefined : output;
}

function start(
  program: string,
  args: readonly string[],
  {
    folder,
    variables,
    options: { environment, signal, timeoutMs = defaultTimeoutMs },
    maxBytes,
  }: Parameters<typeof runGit>[1],
): Promise<GitOutput & { readonly isCut: boolean }> {
  const env = { ...baseVariables(environment, folder), ...variables };
  const options = { cwd: folder, env, signal, timeout: timeoutMs, maxBuffer: maxBytes, windowsHide: true } as const;
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { ...options, encoding: "buffer", killSignal: "SIGKILL" },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : (error.code ?? -1);
        const isCut = code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER";
        if (signal.aborted) reject(new Cancelled("reading the repository was cancelled"));
        else if (error?.killed === true && !isCut) {
          const message = `git did not finish within ${timeoutMs / 1_000} s`;
          reject(new InvalidRequest(message, { next: advice("ask for less, such as fewer commits") }));
        } else if (typeof code === "string" && !isCut) {
          reject(new InvalidRequest(`git could not be started (${error?.message})`, { cause: error }));
        } else {
          const text = stderr.toString("utf8").slice(0, maxErrorCharacters);
          resolve({ exitCode: typeof code === "number" ? code : 0, stdout, stderr: text, isCut });
        }
      },
    );
    child.stdin?.end();
  });
}

function baseVariables(environment: GitOptions["environment"], folder: string): Record<string, string> {
  const kept = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && passedOn.includes(entry[0].toUpperCase()),
  );
  return {
    ...Object.fromEntries(kept),
    // Messages are compared in English.
    LC_ALL: "C",
    PATH: searchPath(environment, folder).join(path.delimiter),
    GIT_ALLOW_PROTOCOL: "none",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_NO_LAZY_FETCH: "1",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_PAGER: "cat",
    GIT_TERMINAL_PROMPT: "0",
  };
}
