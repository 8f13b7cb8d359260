import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { setTimeout } from "node:timers/promises";
import { DaemonUnavailable } from "../orchestrator/api/errors.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { isProcessAlive } from "../orchestrator/storage/process-alive.ts";
import { type ClaimRecord, claimGenerations, newestClaim, recentDeaths, uptimeMs } from "./claim-record.ts";
import {
  createExclusively,
  randomHex,
  readOwnFile,
  daemonLogFile,
  ensureRunFolder,
  realHome,
  runFolder,
} from "./run-folder.ts";
import { DaemonUnreachable, introductionMs, probeClaim } from "./handshake.ts";
import { requireTrustedHome } from "./trusted-home.ts";
import { codeOf, defined, orUndefined } from "../orchestrator/util/values.ts";

export interface StartOptions {
  readonly home: string;
  /** The folder of `cli.mjs` and `commands.mjs`, and its version with build. */
  readonly program: { readonly folder: string; readonly version: string };
  /** An executable that runs Node programs. */
  readonly node: string;
  /** The daemon gets a part of it: `daemonEnvironment`. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Flags of the server that the daemon applies; none when absent. */
  readonly flags?: readonly string[];
  /** Sentences for the user. */
  say(text: string): void;
  /** Bounds the wait for the daemon's socket; 20 s when absent, because a machine that swaps starts slowly. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const defaultTimeoutMs = 20_000;
const pollMs = 20;
/** How long to wait for another front that is starting a daemon. */
const maxTurnMs = 4_000;
/** After so many deaths within a minute the daemon starts without preloads, and users are referred to its log. */
const deathsToReport = 3;

/**
 * Starts a daemon of `home` as a process of its own, which outlives this one and the client's terminal, and waits until
 * it, or one that another process started meanwhile, answers. Daemons that died within the last minute before they had
 * answered anything delay the start: 0, 0.25, 1, then 4 s. Throws `DaemonUnavailable` that names the daemon's log, or
 * what to do about a full disk, and `InvalidConfig` for a home that other users could have changed.
 */
export async function startDaemon(options: StartOptions): Promise<ClaimRecord> {
  const { signal, say } = options;
  // Everything that the daemon will run or read. It would refuse the home itself, but only its log would tell why.
  requireTrustedHome(options.home, { isWhole: true });
  ensureRunFolder(options.home);
  // The home may have been created just now, in a folder where others can replace it.
  requireTrustedHome(options.home);
  const home = realHome(options.home);
  const before = newestClaim(home);
  const deaths = deathCount(before);
  const log = daemonLogFile(home);
  if (deaths >= deathsToReport) say(`the daemon of ${home} died ${deaths} times within a minute; see ${log}`);
  const failures = failedStartCount(before);
  await wait([0, 0, 250, 1_000][failures] ?? 4_000, signal);

  const deadline = uptimeMs() + maxTurnMs;
  let isOurTurn = false;
  try {
    for (;;) {
      const living = await livingDaemon(home);
      if (living !== undefined) return living;
      isOurTurn = createExclusively(turnFile(home), `${process.pid}\n`);
      if (isOurTurn || uptimeMs() >= deadline) break;
      if (isTurnLeftBehind(home)) rmSync(turnFile(home), { force: true });
      else await wait(pollMs * 2, signal);
    }
    const generation = claimGenerations(home).at(-1) ?? 0;
    const child = spawnDaemon(home, log, options, before === undefined ? [] : [before.version]);
    return await daemonAfter(home, generation, child, options.timeoutMs ?? defaultTimeoutMs, signal);
  } catch (error) {
    throw startFailure(home, log, error);
  } finally {
    if (isOurTurn || uptimeMs() >= deadline) rmSync(turnFile(home), { force: true });
  }
}

/** The error for users when a daemon can't be started; defects are returned unchanged. */
export function startFailure(home: string, log: string, error: unknown): unknown {
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    const what = code === "ENOSPC" ? "its disk is full" : "its disk quota is used up";
    return new DaemonUnavailable(`the daemon of ${home} could not be started: ${what}`, {
      next: [
        advice("free some space on it (a few megabytes are enough)"),
        { step: "setHome", to: "a folder on another disk" },
      ],
      cause: error,
    });
  }
  if (!(error instanceof DaemonUnavailable) || error instanceof DaemonUnreachable) return error;
  return new DaemonUnavailable(`the daemon of ${home} could not be started: ${error.message}`, {
    next: [advice(`read ${log} for the reason`), { step: "startStandalone" }],
    cause: error,
  });
}

/**
 * Created by the front that starts a daemon, so that ten fronts don't start ten processes of which nine end again. Only
 * an optimization: the claim decides, and a front that has waited long enough starts a daemon as well.
 */
function turnFile(home: string): string {
  return join(runFolder(home), "starting");
}

/**
 * Whether the turn belongs to a front that was killed. Two fronts that see this at once may both start a daemon, as
 * after the wait.
 */
function isTurnLeftBehind(home: string): boolean {
  // Without a text it was removed meanwhile, or is not written by us.
  const text = orUndefined(() => readOwnFile(turnFile(home)));
  const [, pid] = /^(\d+)\n$/.exec(text ?? "") ?? [];
  return pid !== undefined && !isProcessAlive(Number(pid));
}

/** The daemon of a home, if one answers. Throws for one that is silent: another can't take the home from it. */
export async function livingDaemon(home: string): Promise<ClaimRecord | undefined> {
  const claim = newestClaim(home);
  if (claim === undefined || claim.ended === true) return undefined;
  try {
    await probeClaim(home, claim, introductionMs);
    return claim;
  } catch (error) {
    if (error instanceof DaemonUnreachable && error.reason !== "silent") return undefined;
    throw error;
  }
}

/** Deaths within the last minute, including the newest daemon's if it hasn't ended in order. */
function deathCount(newest: ClaimRecord | undefined): number {
  if (newest === undefined) return 0;
  return recentDeaths(newest.deaths, Date.now()).length + (newest.ended === true ? 0 : 1);
}

/** The latest of these deaths, in a row, before which nothing was answered. */
function failedStartCount(newest: ClaimRecord | undefined): number {
  if (newest === undefined || newest.hasAnswered === true) return 0;
  const before = recentDeaths(newest.failedStarts, Date.now()).length;
  return before + (newest.ended === true ? 0 : 1);
}

function spawnDaemon(home: string, log: string, options: StartOptions, keep: readonly string[]) {
  const folder = ensureProgramCopy(home, options.program, keep);
  mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
  const output = openSync(log, "a", 0o600);
  let child: ChildProcess;
  let ended: string | undefined;
  try {
    child = spawn(options.node, [join(folder, "cli.mjs"), "daemon", "run", ...(options.flags ?? [])], {
      cwd: home,
      detached: true,
      windowsHide: true,
      stdio: ["ignore", output, output],
      env: daemonEnvironment(options.environment, home),
    });
  } finally {
    closeSync(output);
  }
  child.once("error", (error) => (ended = `${options.node}: ${error.message}`));
  child.once("exit", (code, killedBy) => (ended = `it ended with ${killedBy ?? `code ${code}`}`));
  child.unref();
  /** Why it ended; undefined while it runs. */
  return { end: () => ended };
}

/**
 * The claim of a living daemon of another generation than `generation`: a later one, or a lower one if that was a far
 * number. A child that has ended may have lost the race for the home, so the winner gets a second to appear.
 */
async function daemonAfter(
  home: string,
  generation: number,
  child: ReturnType<typeof spawnDaemon>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<ClaimRecord> {
  let deadline = uptimeMs() + timeoutMs;
  let isEndSeen = false;
  let problem = "its socket did not appear";
  while (uptimeMs() < deadline) {
    const claim = newestClaim(home);
    if (claim !== undefined && claim.ended !== true && (claim.generation !== generation || isEndSeen)) {
      try {
        await probeClaim(home, claim, Math.min(introductionMs, Math.max(1, deadline - uptimeMs())));
        return claim;
      } catch (error) {
        if (!(error instanceof DaemonUnreachable)) throw error;
        problem = error.message;
      }
    }
    const end = child.end();
    if (end !== undefined && !isEndSeen) {
      isEndSeen = true;
      problem = end;
      deadline = Math.min(deadline, uptimeMs() + 1_000);
    }
    await wait(pollMs, signal);
  }
  throw new DaemonUnavailable(`${problem} (waited at most ${timeoutMs} ms)`);
}

async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (ms === 0) return;
  await setTimeout(ms, undefined, defined({ signal })).catch((cause: unknown) => {
    throw new DaemonUnavailable("the wait for the daemon was cancelled", { cause });
  });
}

/** Variables that the daemon is started with; secrets of the client that starts it are not passed on. */
const environmentNames: ReadonlySet<string> = new Set(
  // Temporary folder, proxy, certificates; where CUDA's runtime and Vulkan's driver are.
  (
    "PATH HOME USERPROFILE TMPDIR TMP TEMP HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY " +
    "NODE_EXTRA_CA_CERTS NODE_USE_SYSTEM_CA SSL_CERT_FILE SSL_CERT_DIR " +
    "LD_LIBRARY_PATH CUDA_PATH VK_DRIVER_FILES " +
    // Without these many programs don't start on Windows.
    "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT APPDATA LOCALAPPDATA PROGRAMDATA PROGRAMFILES USERNAME " +
    "HOMEDRIVE HOMEPATH NUMBER_OF_PROCESSORS PROCESSOR_ARCHITECTURE"
  ).split(" "),
);

const prefixes: readonly string[] = ["NPM_CONFIG_", "OLLAMA_", "OLLM_"];

/**
 * The part of a front's environment that the daemon is started with. Names match in any case, as on Windows and for
 * proxies; `home` is an absolute path, because the daemon's working directory differs.
 */
function daemonEnvironment(environment: Readonly<Record<string, string | undefined>>, home: string) {
  const passed = Object.entries(environment).filter((entry): entry is [string, string] => {
    const name = entry[0].toUpperCase();
    return entry[1] !== undefined && (environmentNames.has(name) || prefixes.some((prefix) => name.startsWith(prefix)));
  });
  return { ...Object.fromEntries(passed), OLLM_HOME: home };
}

/**
 * Creates the daemon's own copy of the program, `OLLM_HOME/run/<version>`, so that an upgrade in place doesn't remove
 * files of a running daemon, and returns its folder. One that differs from `program` is replaced before any of it runs.
 * Copies of the versions in `keep` are kept; all others are removed when a new one is created.
 */
function ensureProgramCopy(
  home: string,
  program: { readonly folder: string; readonly version: string },
  keep: readonly string[],
): string {
  const copy = join(runFolder(home), program.version);
  // Started by a daemon, or by a command that a daemon runs.
  if (program.folder === copy || isSameProgram(program.folder, copy)) return copy;
  if (!existsSync(join(program.folder, "commands.mjs"))) {
    throw new DaemonUnavailable(`${program.folder} contains no built program to run as the daemon`, {
      next: [advice("run `npm run build` and start dist/cli.mjs"), { step: "startStandalone" }],
    });
  }
  replaceProgram(program.folder, copy);
  removeOthers(home, [program.version, ...keep]);
  return copy;
}

/** Makes `copy` a copy of a program's folder: complete or absent, even when several processes copy at once. */
export function replaceProgram(folder: string, copy: string): void {
  const temporary = `${copy}.${randomHex(6)}.new`;
  try {
    mkdirSync(temporary, { recursive: true, mode: 0o700 });
    cpSync(folder, temporary, { recursive: true, dereference: true });
    rmSync(copy, { recursive: true, force: true });
    renameSync(temporary, copy);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    // Another process was faster.
    if (!isSameProgram(folder, copy)) throw error;
  }
}

/** Whether `copy` has exactly the files of `folder`, byte for byte (4 MB, about 10 ms). False without a copy. */
export function isSameProgram(folder: string, copy: string): boolean {
  try {
    const names = filesBelow(folder);
    const copied = filesBelow(copy);
    if (names.length !== copied.length) return false;
    return names.every(
      (name, index) =>
        name === copied[index] && readFileSync(join(folder, name)).equals(readFileSync(join(copy, name))),
    );
  } catch {
    return false;
  }
}

/** Relative paths, sorted. */
function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .toSorted();
}

function removeOthers(home: string, keep: readonly string[]): void {
  for (const entry of readdirSync(runFolder(home), { withFileTypes: true })) {
    // Only names of versions, and no incomplete copies: another front may be writing one.
    if (!entry.isDirectory() || keep.includes(entry.name) || !/^\d+\.\d+\.\d+[^/]*$/.test(entry.name)) continue;
    if (entry.name.endsWith(".new")) continue;
    rmSync(join(runFolder(home), entry.name), { recursive: true, force: true });
  }
}
