import path from "node:path";
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, realpath, rename, rm, stat, statfs, type FileHandle } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { codeOf } from "../util/message-of.ts";

/** On Windows, a rename fails with one of these while a scanner or indexer has the file open. */
const busyCodes = new Set(["EPERM", "EACCES", "EBUSY"]);
const busyDelaysMs = [10, 50, 200, 500];

interface WrittenAs {
  /** Mode of the written file. */
  readonly mode: number;
  readonly platform: NodeJS.Platform;
}

/**
 * Replaces a file of the user atomically: it has all of `data` or its old content, whenever the process or the machine
 * stops. (write-file-atomic takes a partial write for a complete one when the disk becomes full.) For a link, replaces its
 * target. Keeps the owner, and the mode unless `mode` is given.
 */
export async function replaceFile(
  file: string,
  data: string | Uint8Array,
  { mode, platform = process.platform }: Partial<WrittenAs> = {},
): Promise<void> {
  const target = await realpath(file).catch(() => file);
  const before = await stat(target).catch(() => undefined);
  const kept = mode ?? (before && before.mode & 0o777);
  const temporary = path.join(path.dirname(target), `.${path.basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  await writeAside(temporary, target, data, {
    mode: kept ?? 0o666,
    platform,
    prepare: async (handle) => {
      if (before === undefined || kept === undefined || platform === "win32") return;
      // `open` applied the umask. Failures are ignored: changing owners needs privileges, and some disks have no modes.
      await handle.chown(before.uid, before.gid).catch(() => undefined);
      await handle.chmod(kept).catch(() => undefined);
    },
  });
}

/**
 * Writes `temporary` and renames it to `target` once all of `data` is on disk. On failure, removes `temporary` and leaves
 * `target` unchanged. The caller syncs the folder (`syncFolder`) where the name must survive a loss of power, too.
 */
export async function writeAside(
  temporary: string,
  target: string,
  data: string | Uint8Array,
  how: WrittenAs & { readonly prepare?: (handle: FileHandle) => Promise<void> },
): Promise<void> {
  try {
    const handle = await open(temporary, "w", how.mode);
    try {
      await how.prepare?.(handle);
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await renameOver(temporary, target, how.platform);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Renames a file over an existing one; on Windows, retries while the file is busy: without `delaysMs` for less than a second. */
export async function renameOver(
  from: string,
  to: string,
  platform: NodeJS.Platform,
  delaysMs: readonly number[] = busyDelaysMs,
): Promise<void> {
  for (const delayMs of platform === "win32" ? delaysMs : []) {
    try {
      return await rename(from, to);
    } catch (error) {
      const code = codeOf(error) ?? "";
      if (!busyCodes.has(code)) throw error;
      await delay(delayMs);
    }
  }
  await rename(from, to);
}

/** Syncs the folder's entries to disk, which is neither possible nor necessary on Windows. */
export async function syncFolder(folder: string, platform: NodeJS.Platform): Promise<void> {
  if (platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Bytes that this user may write to the disk of an existing folder. */
export async function freeDiskBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Opens a file for reading at once: opening a pipe would wait for its writer. Throws the system's error, or `NotRegular`. */
export async function openRegular(file: string): Promise<FileHandle> {
  return checked(file, await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
}

/** The same for appending; creates the file with `mode`. */
export async function openRegularToAppend(file: string, mode: number): Promise<FileHandle> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NONBLOCK ?? 0);
  return checked(file, await open(file, flags, mode));
}

/** The content of an open file; undefined when it is longer than `maxBytes`, whatever size it reports. */
export async function readUpTo(handle: FileHandle, maxBytes: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(maxBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) return buffer.subarray(0, length);
    length += bytesRead;
  }
  return undefined;
}

/** Writes a file that must not exist yet; resolves when it is on disk. Leaves no incomplete file. */
export async function writeNew(file: string, text: string, mode?: number): Promise<void> {
  const handle = await open(file, "wx", mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    // The caller reports the original error.
    await rm(file, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
}

/** The text of a regular file (UTF-8). Throws like `openRegular`. */
export async function readRegularText(file: string): Promise<string> {
  const handle = await openRegular(file);
  try {
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

/** A pipe, socket or device. */
export class NotRegular extends Error {
  constructor(file: string) {
    super(`${file} is not a regular file (a pipe, socket or device)`);
  }
}

async function checked(file: string, handle: FileHandle): Promise<FileHandle> {
  const found = await handle.stat();
  // Reading a folder fails with an error of its own.
  if (found.isFile() || found.isDirectory()) return handle;
  await handle.close();
  throw new NotRegular(file);
}
