import { open, readFile, stat } from "node:fs/promises";
import { callLogFile, daemonLogFile } from "../../ipc/socket-path.ts";
import { type CommandIo, homeOf } from "../terminal/io.ts";

export interface LogOptions {
  /** Number of lines, the newest ones; 50 by default. */
  readonly lines?: number | undefined;
  /** Print new lines until `signal` aborts or the process is interrupted. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal;
}

const defaultLines = 50;
const followMs = 300;

/** `ollm daemon logs`: the log of the daemon and of its calls, in order of time, with local times. */
export async function daemonLogs(options: LogOptions, io: CommandIo): Promise<number> {
  const home = homeOf(io);
  const files = [daemonLogFile(home), callLogFile(home)];
  const read = await Promise.all(files.map(readWhole));
  const lines = inOrder(read.map(({ text }) => text)).slice(-(options.lines ?? defaultLines));
  if (lines.length > 0) io.stdout(`${lines.map(withLocalTime).join("\n")}\n`);
  else if (options.follow !== true) io.stderr(`ollm: no log entries in ${files.join(" and ")}\n`);
  if (options.follow === true) {
    const ends = read.map(({ bytes }) => bytes);
    await follow(files, ends, io, options.signal ?? interrupted());
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

/** The files have UTC. */
function withLocalTime(line: string): string {
  return line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z/, (at) => new Date(at).toLocaleString("sv"));
}

async function readWhole(file: string): Promise<{ readonly text: string; readonly bytes: number }> {
  try {
    const text = await readFile(file);
    return { text: text.toString("utf8"), bytes: text.length };
  } catch (error) {
    if (isMissing(error)) return { text: "", bytes: 0 };
    throw error;
  }
}

async function follow(files: readonly string[], from: number[], io: CommandIo, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const added: string[] = [];
    for (const [index, file] of files.entries()) {
      const { text, end } = await readFrom(file, from[index] ?? 0);
      from[index] = end;
      added.push(text);
    }
    const lines = inOrder(added);
    if (lines.length > 0) io.stdout(`${lines.map(withLocalTime).join("\n")}\n`);
    await pause(followMs, signal);
  }
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

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
