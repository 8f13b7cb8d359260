import { appendFile, mkdir, rename, rm, stat, truncate, copyFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as gathering } from "node:timers/promises";

export interface RotationLimits {
  readonly maxBytes: number;
  /** Older files beside the current one: `calls.1.log` is the newest of them. */
  readonly keep: number;
}

export const logLimits: RotationLimits = { maxBytes: 5 * 1024 * 1024, keep: 3 };

/** Lines appended within this time are written together. */
const gatherMs = 100;

/** A log file that is only appended to, and of which a few older files are kept. */
export interface RotatingFile {
  /** Never rejects, and keeps the order of lines. `onFailure` is called with the first of consecutive failures. */
  append(line: string): void;
  /** Resolves when all appended lines are written. */
  idle(): Promise<void>;
}

/** Mode 0600; its folder is made when needed. */
export function createRotatingFile(
  file: string,
  onFailure: (error: unknown) => void,
  limits: RotationLimits = logLimits,
): RotatingFile {
  let waiting: string[] = [];
  let writing: Promise<void> | undefined;
  let bytes: number | undefined;
  let hasFailed = false;

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const text = `${waiting.join("\n")}\n`;
      waiting = [];
      try {
        await write(text);
        hasFailed = false;
      } catch (error) {
        if (!hasFailed) onFailure(error);
        hasFailed = true;
        bytes = undefined;
      }
    }
  }

  async function write(text: string): Promise<void> {
    if (bytes === undefined) {
      await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
      bytes = await sizeOf(file);
    }
    const added = Buffer.byteLength(text);
    if (bytes > 0 && bytes + added > limits.maxBytes) {
      await shift(file, limits.keep);
      await rename(file, numbered(file, 1));
      bytes = 0;
    }
    await appendFile(file, text, { mode: 0o600 });
    bytes += added;
  }

  return {
    append(line) {
      waiting.push(line);
      // Opening the file for every line would cost more than all other overhead of a call.
      writing ??= gathering(gatherMs)
        .then(writeAll)
        .finally(() => (writing = undefined));
    },
    idle: async () => writing,
  };
}

/**
 * Rotates a file to which a process appends through its stderr. Its content is copied and the file truncated, because the
 * process would continue to write to a renamed file.
 */
export async function rotateByCopy(file: string, limits: RotationLimits = logLimits): Promise<void> {
  if ((await sizeOf(file)) <= limits.maxBytes) return;
  await shift(file, limits.keep);
  await copyFile(file, numbered(file, 1));
  await truncate(file, 0);
}

/** Makes room for number 1. */
async function shift(file: string, keep: number): Promise<void> {
  await rm(numbered(file, keep), { force: true });
  for (let number = keep - 1; number >= 1; number -= 1) {
    await rename(numbered(file, number), numbered(file, number + 1)).catch(ignoreMissing);
  }
}

/** `logs/calls.log` → `logs/calls.1.log`. */
function numbered(file: string, number: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.${number}${ext}`);
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    ignoreMissing(error);
    return 0;
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
}
