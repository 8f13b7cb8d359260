import { open, stat } from "node:fs/promises";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type ClaimRecord, newestClaim } from "../../ipc/claim-record.ts";
import { DaemonUnreachable, askDaemon, introductionMs, probeClaim } from "../../ipc/handshake.ts";
import type { DaemonStatus, Hello, Welcome } from "../../ipc/protocol.ts";
import { callLogFile, daemonLogFile } from "../../ipc/run-folder.ts";
import { livingDaemon, startDaemon } from "../../ipc/start-daemon.ts";
import { build } from "../../ipc/version.ts";
import { commandSteps } from "../../next-steps/commands.ts";
import { DaemonUnavailable, OrchestratorError } from "../../orchestrator/api/errors.ts";
import { isProcessAlive } from "../../orchestrator/storage/process-alive.ts";
import { jsonText, oneLine } from "../../orchestrator/util/control-characters.ts";
import { formatBytes, localTime } from "../../orchestrator/util/format-bytes.ts";
import { type CommandIo, agree, homeOf, type JsonOption, type Options } from "../terminal/io.ts";
import { whileWaiting } from "../terminal/progress-line.ts";
import { type Fact, renderFacts, errorText } from "../terminal/terminal-text.ts";

import { isMissing } from "../../orchestrator/util/values.ts";

/** A daemon exits within three seconds, on a swapping machine later. */
const stopMs = 15_000;
const pollMs = 50;
/** Time for the process to exit after its claim has ended. */
const processMs = 2_000;

/** `ollm daemon start`: returns 0 when a daemon runs, whether new or not. Throws `DaemonUnavailable`. */
export async function daemonStart({ json = false }: JsonOption, io: CommandIo): Promise<number> {
  const home = homeOf(io);
  const say = (words: string, { pid, version }: ClaimRecord): void =>
    io.stdout(json ? `${jsonText({ running: true, pid, version })}\n` : `${words}: pid ${pid}, version ${version}\n`);
  const living = await livingDaemon(home);
  if (living !== undefined) {
    say("already running", living);
    return 0;
  }
  const starting = whileWaiting("starting the daemon ...", io, (line) =>
    startDaemon({
      home,
      program: { folder: path.dirname(io.script), version: build },
      node: io.node,
      environment: io.environment,
      say: (text) => line.above(`ollm: ${text}\n`),
    }),
  );
  const claim = await starting.catch((error: unknown) => {
    if (error instanceof OrchestratorError || !(error instanceof Error)) throw error;
    throw new DaemonUnavailable(`${home} can't be used (${error.message})`, {
      next: { step: "setHome", to: "a folder that you may write to" },
      cause: error,
    });
  });
  say("started", claim);
  return 0;
}

/** `ollm daemon stop`: resolves when the daemon has exited; with 1 if it has not after 15 s. */
export function daemonStop({ json = false }: JsonOption, io: CommandIo): Promise<number> {
  return endDaemon("stop", io, (words, pid) => (json ? `${jsonText({ running: false, pid })}\n` : words));
}

/** `ollm stop`: `daemonStop` after a question that names what the end of the daemon interrupts. */
export async function daemonStopAsking(
  options: JsonOption & { readonly yes?: boolean | undefined },
  io: CommandIo,
): Promise<number> {
  const asked = options.yes === true ? undefined : await ask(homeOf(io), "status", io);
  if (asked?.welcome.ok === true) {
    const { status } = asked.welcome;
    if (status !== undefined) io.stderr(renderFacts(interruptions(status), { ...io, columns: io.errorColumns }));
    await agree(`Stop the daemon (pid ${asked.claim.pid})?`, io);
  }
  return daemonStop(options, io);
}

/** What the end of a daemon interrupts; empty if nothing. */
function interruptions({ clients, listeners, loaded, work }: DaemonStatus): readonly Fact[] {
  const names = loaded.map(({ name }) => name).join(", ");
  // Several windows of one client are several connections.
  const served = [...new Set(clients.map(({ client }) => client))].join(", ") || undefined;
  return [
    ["interrupts", work.join(", ") || undefined],
    ["unloads", names || undefined],
    ["closes", listeners.join(", ") || undefined],
    ["clients", served && `${served} (their next call starts a new daemon)`],
  ];
}

/** Stops the daemon. `output` formats the result: a sentence, and the pid unless no daemon ran. */
async function endDaemon(
  purpose: "stop" | "restart",
  io: CommandIo,
  output: (sentence: string, pid?: number) => string,
): Promise<number> {
  const home = homeOf(io);
  const asked = await ask(home, purpose, io);
  if (asked === undefined) {
    io.stdout(output(`no daemon runs for ${home}\n`));
    return 0;
  }
  const { claim, welcome } = asked;
  if (!welcome.ok) return refused(welcome, io);
  if (!(await whileWaiting("stopping the daemon ...", io, () => hasEnded(home, claim)))) {
    io.stderr(
      `ollm: the daemon (pid ${claim.pid}) is still running after ${stopMs / 1_000} s\n` +
        `  Look for the reason in ${daemonLogFile(home)}, or kill pid ${claim.pid} if it hangs.\n`,
    );
    return 1;
  }
  io.stdout(output(`stopped: pid ${claim.pid}\n`, claim.pid));
  return 0;
}

/** Waits for the end of the daemon of `claim` and of its process; false if it still holds the home after 15 s. */
async function hasEnded(home: string, claim: ClaimRecord): Promise<boolean> {
  const deadline = Date.now() + stopMs;
  while (await isThere(home, claim)) {
    if (Date.now() >= deadline) return false;
    await pause(pollMs);
  }
  const processDeadline = Date.now() + processMs;
  while (isProcessAlive(claim.pid) && Date.now() < processDeadline) await pause(pollMs);
  return true;
}

/** `ollm daemon restart`: clients and listeners stay connected; interrupted calls fail and can be retried. */
export async function daemonRestart(options: JsonOption, io: CommandIo): Promise<number> {
  // With --json only the new daemon is printed.
  const stopped = await endDaemon("restart", io, (words) => (options.json === true ? "" : words));
  return stopped === 0 ? daemonStart(options, io) : stopped;
}

/** `ollm daemon status`: starts nothing. Returns 0 even if no daemon runs, 1 if it refuses. */
export async function daemonStatus({ json = false }: JsonOption, io: CommandIo): Promise<number> {
  const home = homeOf(io);
  const asked = await ask(home, "status", io);
  if (asked === undefined) {
    io.stdout(json ? `${jsonText({ running: false, home })}\n` : `no daemon runs for ${home}\n`);
    return 0;
  }
  const { welcome } = asked;
  if (!welcome.ok) return refused(welcome, io);
  if (welcome.status === undefined) throw new DaemonUnavailable(`the daemon of ${home} returned no status`);
  io.stdout(json ? `${jsonText({ running: true, ...welcome.status })}\n` : describe(welcome.status));
  return 0;
}

function describe(status: DaemonStatus): string {
  const { clients, listeners, loaded, jobs, problems = [], settingsProblem } = status;
  const since = `since ${localTime(status.startedAt)}${status.isStandalone ? ", standalone" : ""}`;
  const models = loaded.map(({ name, engine, bytes }) => `${name} (${engine}, ${formatBytes(bytes)})`);
  const facts: readonly (readonly [name: string, value: string])[] = [
    ["running", `pid ${status.pid}, version ${status.version}, ${since}`],
    ["home", status.home],
    ["socket", status.socket],
    ["clients", clients.map(({ client }) => client).join(", ") || "none"],
    ["loaded", models.join(", ") || "nothing"],
    ...(listeners.length > 0 ? [["listeners", listeners.join(", ")] as const] : []),
    ...(jobs > 0 ? [["jobs", `${jobs} running`] as const] : []),
    ...problems.map((problem) => ["warning", problem] as const),
    ...(settingsProblem === undefined ? [] : [["settings", settingsProblem] as const]),
  ];
  return facts.map(([name, value]) => `${`${name}:`.padEnd(8)} ${oneLine(value)}\n`).join("");
}

/** Sends a request to the daemon; undefined if none runs. Throws `DaemonUnreachable` if it may run but does not respond. */
async function ask(home: string, purpose: Hello["purpose"], io: CommandIo) {
  const caller = { version: build, purpose, workingDirectory: io.workingDirectory };
  try {
    return await askDaemon(home, caller, { timeoutMs: introductionMs });
  } catch (error) {
    if (error instanceof DaemonUnreachable && ["absent", "dead", "gone"].includes(error.reason)) return undefined;
    throw error;
  }
}

/** Whether the daemon of `claim` still holds the home. */
async function isThere(home: string, claim: ClaimRecord): Promise<boolean> {
  const newest = newestClaim(home);
  if (newest === undefined || newest.generation !== claim.generation || newest.ended === true) return false;
  try {
    await probeClaim(home, claim, introductionMs);
    return true;
  } catch (error) {
    if (!(error instanceof DaemonUnreachable)) throw error;
    // A daemon that is stopping does not respond.
    return error.reason === "silent" || error.reason === "closed";
  }
}

function refused(welcome: Extract<Welcome, { ok: false }>, io: CommandIo): number {
  io.stderr(errorText(welcome, commandSteps, io));
  return 1;
}

const followMs = 300;

/**
 * `ollm daemon logs`: the newest `lines` of the logs of the daemon and of its calls, in order of time, with local times;
 * with `follow` also new ones, until `signal` aborts or the process is interrupted.
 */
export async function daemonLogs(
  options: Options<{ switch: "follow"; number: "lines" }> & { readonly signal?: AbortSignal },
  io: CommandIo,
): Promise<number> {
  const home = homeOf(io);
  const files = [daemonLogFile(home), callLogFile(home)];
  const ends = files.map(() => 0);
  const added = async (): Promise<readonly string[]> => {
    const read = await Promise.all(files.map((file, index) => readFrom(file, ends[index] ?? 0)));
    ends.splice(0, ends.length, ...read.map(({ end }) => end));
    return inOrder(read.map(({ text }) => text)).map(
      // The files have UTC.
      (line) => line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z/, (at) => new Date(at).toLocaleString("sv")),
    );
  };
  const print = (lines: readonly string[]): void => io.stdout(lines.map((line) => `${line}\n`).join(""));
  const kept = await added();
  print(kept.slice(Math.max(0, kept.length - (options.lines ?? 50))));
  if (options.follow !== true) {
    if (kept.length === 0) io.stderr(`ollm: no log entries in ${files.join(" and ")}\n`);
    return 0;
  }
  const signal = options.signal ?? interrupted();
  while (!signal.aborted) {
    await pause(followMs, undefined, { signal }).catch(() => undefined);
    print(await added());
  }
  return 0;
}

/** Merges the lines of several logs by their time; a line without a time (of a stack) follows the line before it. */
export function inOrder(texts: readonly string[]): readonly string[] {
  const entries = texts.flatMap((text) => {
    let at = "";
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        at = /^\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(line)?.[0] ?? at;
        return { at, line };
      });
  });
  return entries.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).map(({ line }) => line);
}

/** Reads the complete lines after `start`; from the beginning if the file was rotated. */
async function readFrom(file: string, start: number): Promise<{ readonly text: string; readonly end: number }> {
  try {
    const { size } = await stat(file);
    const from = size < start ? 0 : start;
    if (size === from) return { text: "", end: from };
    const handle = await open(file);
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
      const bytes = buffer.subarray(0, bytesRead);
      const whole = bytes.subarray(0, bytes.lastIndexOf(0x0a) + 1);
      return { text: whole.toString("utf8"), end: from + whole.length };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isMissing(error)) return { text: "", end: 0 };
    throw error;
  }
}

function interrupted(): AbortSignal {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort());
  process.once("SIGTERM", () => controller.abort());
  return controller.signal;
}
