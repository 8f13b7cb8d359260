import { spawn } from "node:child_process";
import { setMaxListeners } from "node:events";
import { stat } from "node:fs/promises";
import { createBoundedMap } from "../async/bounded-map.ts";
import { Cancelled, LoadFailed, throwIfCancelled } from "../errors.ts";
import { advice } from "../next-step.ts";
import { crashReasonIn } from "../text/crash-reason.ts";
import type { GgufAnswer } from "./answer.ts";
import type { GgufHeader, InspectGguf } from "./inspect.ts";

export interface GgufInspectorOptions {
  /** Absolute path of the built `gguf-child.mjs`. */
  readonly childEntry: string;
  /** A Node that can be spawned; not every client's `process.execPath` is one. */
  readonly nodeExecutable: string;
  /** For one file, from the start of its process. A healthy header takes 50 ms, mostly Node's start. Default 5,000. */
  readonly timeoutMs?: number;
  /** Processes at once. Default 2. */
  readonly maxProcesses?: number;
  /** Size of all kept headers as JSON; the least recently used is dropped first. Default 4 MiB: some 2,000 headers. */
  readonly maxRememberedCharacters?: number;
  /** Environment that the child's Node may need to start; only a few names of it are passed on. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** More than any header takes that is read to its end: a damaged one must not take the machine's memory. */
const childHeapMegabytes = 256;
/** Without these a Node can't start on some systems; with more it may start slower, or differently (`NODE_OPTIONS`). */
const passedOn = ["SystemRoot", "SYSTEMROOT", "LD_LIBRARY_PATH", "ELECTRON_RUN_AS_NODE"];
/** For a file that can't be read. */
const unreadableSteps = [advice("download or copy the file again"), advice("check the disk that it is on")];

/** One reading that several callers may wait for. */
interface Reading {
  readonly header: Promise<GgufHeader>;
  readonly abort: AbortController;
  followers: number;
}

/**
 * Reads headers in processes of their own, remembers them by path, size and time of change, and lets calls for one
 * file share one process. A call that is aborted rejects with `Cancelled`; the last one to leave kills the process.
 */
export function createGgufInspector(options: GgufInspectorOptions): InspectGguf {
  const { timeoutMs = 5_000, maxProcesses = 2, maxRememberedCharacters = 4 * 1024 ** 2 } = options;
  const remembered = createBoundedMap<GgufHeader>(maxRememberedCharacters);
  const readings = new Map<string, Reading>();
  const admit = createGate(maxProcesses);

  const start = (key: string, file: string): Reading => {
    const abort = new AbortController();
    const read = async (): Promise<GgufHeader> => {
      const leave = await admit(abort.signal);
      try {
        const header = await readInChild(file, options, timeoutMs, abort.signal);
        remembered.set(key, header);
        return header;
      } finally {
        leave();
        if (readings.get(key) === reading) readings.delete(key);
      }
    };
    const reading: Reading = { header: Promise.resolve().then(read), abort, followers: 0 };
    readings.set(key, reading);
    return reading;
  };

  return async (file, signal) => {
    throwIfCancelled(signal, `reading ${file}`);
    // One request may list a hundred models under one signal; Node would warn of a leak from the eleventh on.
    setMaxListeners(0, signal);
    const key = await withAbort(identify(file, timeoutMs), signal, file);
    const known = remembered.get(key);
    if (known !== undefined) return known;
    const reading = readings.get(key) ?? start(key, file);
    reading.followers += 1;
    try {
      return await withAbort(reading.header, signal, file);
    } finally {
      reading.followers -= 1;
      if (reading.followers === 0) {
        if (readings.get(key) === reading) readings.delete(key);
        reading.abort.abort();
      }
    }
  };
}

/** Tells versions of a file apart; in a store its path ends in its digest. Throws `LoadFailed` for what is no regular file: opening a pipe would hang. */
async function identify(file: string, timeoutMs: number): Promise<string> {
  const found = await bounded(
    stat(file, { bigint: true }),
    timeoutMs,
    () => new LoadFailed(`the disk of ${file} didn't answer within ${timeoutMs / 1_000} s`, { next: unreadableSteps }),
  ).catch((error: unknown) => {
    if (error instanceof LoadFailed) throw error;
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      throw new LoadFailed(`${file} doesn't exist`, { next: unreadableSteps, cause: error });
    throw new LoadFailed(`${file} can't be read: ${String(error)}`, { next: unreadableSteps, cause: error });
  });
  if (!found.isFile()) throw new LoadFailed(`${file} is ${found.isDirectory() ? "a folder" : "not a regular file"}`);
  if (found.size === 0n) throw new LoadFailed(`${file} is empty (0 bytes)`, { next: unreadableSteps });
  return `${found.size}:${found.mtimeNs}:${file}`;
}

function readInChild(
  file: string,
  options: GgufInspectorOptions,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<GgufHeader> {
  return new Promise((resolve, reject) => {
    const environment = options.environment ?? process.env;
    const child = spawn(options.nodeExecutable, [`--max-old-space-size=${childHeapMegabytes}`, options.childEntry], {
      env: Object.fromEntries(passedOn.map((name) => [name, environment[name]])),
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      windowsHide: true,
    });
    let complaint = "";
    /** Whatever ends the wait ends the process: it holds no state, and a hanging one can't end itself. */
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", cancel);
      child.kill("SIGKILL");
      settle();
    };
    const fail = (what: string, cause?: unknown): void =>
      finish(() => reject(new LoadFailed(`${file} can't be loaded: ${what}`, { next: unreadableSteps, cause })));
    const cancel = (): void => finish(() => reject(new Cancelled(`reading ${file} was cancelled`)));
    const timer = setTimeout(
      () => fail(`its header took more than ${timeoutMs / 1_000} s to read, so it is damaged or its disk hangs`),
      timeoutMs,
    );
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel);

    child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(-2_000)));
    child.on("error", (error) => fail(`no process to read its header could be started: ${error.message}`, error));
    child.on("message", (message) => {
      const answer = message as GgufAnswer;
      if ("header" in answer) finish(() => resolve(answer.header));
      else fail(answer.damage);
    });
    // `close` comes after everything it said was read, an answer included.
    child.on("close", (exitCode, killedBy) =>
      fail(`reading its header ended the process (${killedBy ?? `code ${exitCode}`})${reasonIn(complaint)}`),
    );
    // A process that couldn't start, or is gone already, reports itself through `error` or `close`.
    child.send(file, () => undefined);
  });
}

function reasonIn(text: string): string {
  const reason = crashReasonIn(text.split("\n"));
  return reason === undefined ? "" : `: ${reason}`;
}

/** Lets `slots` callers in at once, in order of arrival. The answer is called to leave. */
function createGate(slots: number): (signal: AbortSignal) => Promise<() => void> {
  let taken = 0;
  const waiting: (() => void)[] = [];
  const leave = (): void => {
    const next = waiting.shift();
    // A slot is handed over, not given back: nobody who arrives meanwhile can take it.
    if (next === undefined) taken -= 1;
    else next();
  };
  return async (signal) => {
    throwIfCancelled(signal, "reading a GGUF header");
    if (taken < slots) taken += 1;
    else
      await new Promise<void>((resolve, reject) => {
        const enter = (): void => {
          signal.removeEventListener("abort", giveUp);
          resolve();
        };
        const giveUp = (): void => {
          waiting.splice(waiting.indexOf(enter), 1);
          reject(new Cancelled("reading a GGUF header was cancelled"));
        };
        waiting.push(enter);
        signal.addEventListener("abort", giveUp, { once: true });
      });
    return leave;
  };
}

/** Leaves `work` to itself when the signal aborts: others may wait for it. */
function withAbort<Result>(work: Promise<Result>, signal: AbortSignal, file: string): Promise<Result> {
  return new Promise((resolve, reject) => {
    const cancel = (): void => reject(new Cancelled(`reading ${file} was cancelled`, { cause: signal.reason }));
    if (signal.aborted) cancel();
    signal.addEventListener("abort", cancel, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", cancel));
  });
}

function bounded<Result>(work: Promise<Result>, limitMs: number, late: () => Error): Promise<Result> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(late()), limitMs);
    void work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
