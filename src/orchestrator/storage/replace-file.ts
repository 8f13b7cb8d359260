import path from "node:path";
import * as z from "zod";
import { randomUUID, randomBytes } from "node:crypto";
import { link, mkdir, open, rename, rm, stat, utimes, realpath, statfs, type FileHandle } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { codeOf, jsonIn } from "../util/values.ts";
import { isProcessAlive } from "./process-alive.ts";
import { constants } from "node:fs";

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

const heartbeatMs = 1_000;
/** A file untouched for this long may have no holder any more, whatever the process list shows: pids are reused. */
const staleMs = 10_000;
/** ... if it also stays untouched for this many looks: after a suspend the holder has not touched it yet either. */
const looksUntilStale = 8;
// On Windows the name of a deleted file may stay in use for a moment, too.
const busyLimitMs = 10_000;

/**
 * Claims what `file` stands for by creating that file, which of several processes only one can, and touches it every
 * second. Waits while another process holds it:
 *
 * | found                                                     | action                             |
 * | --------------------------------------------------------- | ---------------------------------- |
 * | no file                                                   | create it                          |
 * | the claim of a process of this machine that has ended     | remove it                          |
 * | a file that was not touched for 10 s, nor for eight looks | remove it                          |
 * | any other                                                 | call `onWait`, wait, look again    |
 *
 * What the claim protects may have been done meanwhile: the caller looks again. Throws the system's error if the folder
 * or the file can't be written; no file is left then.
 */
export async function claimFile(
  file: string,
  options: {
    /** Ends the wait: `claimFile` rejects with its reason or an AbortError. */
    readonly signal: AbortSignal;
    /** 250 ms when absent. Work that may take seconds needs at least that: `looksUntilStale` looks must outlast a heartbeat. */
    readonly pollMs?: number;
    /** Called at every look at another process's claim. */
    onWait?(): Promise<void> | void;
  },
): Promise<Claim> {
  const { signal, pollMs = 250 } = options;
  let busyUntil = performance.now() + busyLimitMs;
  let seen = "";
  let looks = 0;
  for (;;) {
    signal.throwIfAborted();
    const token = randomUUID().slice(0, 8);
    const failure = await create(file, token);
    if (failure === undefined) return held(file, token);
    const found = await read(file);
    if (found !== undefined) busyUntil = performance.now() + busyLimitMs;
    else if (failure !== "EEXIST" && performance.now() > busyUntil) throw failure;
    looks = found?.stamp === seen ? looks + 1 : 0;
    seen = found?.stamp ?? "";
    if (found !== undefined) {
      const isStale = found.isOld && looks >= looksUntilStale;
      if ((found.isHolderDead || isStale) && (await removeStale(file, found))) continue;
      await options.onWait?.();
    }
    await delay(pollMs, undefined, { signal });
  }
}

/** Returns `EEXIST`, or the error of a busy name, if the file can't be created now. */
async function create(file: string, token: string): Promise<"EEXIST" | Error | undefined> {
  // At every look: the folder may have been deleted. EEXIST here means that it is a file, and is thrown.
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  try {
    const handle = await open(file, "wx", 0o600);
    try {
      await handle.writeFile(JSON.stringify({ token, pid: process.pid, host: hostname() }));
    } catch (error) {
      // On a full disk it has no holder, and others would wait until it is stale.
      await rm(file, { force: true });
      throw error;
    } finally {
      await handle.close();
    }
    return undefined;
  } catch (error) {
    const code = codeOf(error) ?? "";
    if (code === "EEXIST") return code;
    if (process.platform === "win32" && error instanceof Error && busyCodes.has(code)) return error;
    throw error;
  }
}

/** The exclusive right of a running process to change something on disk. */
export type Claim = ReturnType<typeof held>;

function held(file: string, token: string) {
  let isLost = false;
  let isReleased = false;
  const isOwn = async (): Promise<boolean> => (await read(file))?.token === token;
  const beat = async (): Promise<void> => {
    if (await isOwn()) await utimes(file, Date.now() / 1_000, Date.now() / 1_000);
    else isLost = !isReleased;
  };
  // A failed touch is tried again.
  const timer = setInterval(() => void beat().catch(() => undefined), heartbeatMs);
  timer.unref();
  return {
    /** Unique per claim; 8 hex digits. */
    token,
    /** Another process took it over, because this one was suspended. Noticed within a second. */
    isLost: () => isLost,
    /** Removes the file, unless another process took it over. Idempotent. */
    async release() {
      if (isReleased) return;
      isReleased = true;
      clearInterval(timer);
      // One that can't be read or removed becomes stale.
      if (await isOwn().catch(() => false)) await rm(file, { force: true }).catch(() => undefined);
    },
  };
}

const holderSchema = z.object({ token: z.string(), pid: z.int().positive(), host: z.string() });

async function read(file: string) {
  try {
    const { mtimeMs, ino } = await stat(file, { bigint: true });
    const text = await readRegularText(file);
    // None in a file that is not written yet, or not ours: then only its age counts.
    const holder = holderSchema.safeParse(jsonIn(text)).data;
    return {
      /** Equal stamps: the holder did not touch it in between. */
      stamp: `${text} ${mtimeMs}`,
      inode: ino,
      text,
      token: holder?.token,
      isOld: Date.now() - Number(mtimeMs) > staleMs,
      /** Known only for processes of this machine. */
      isHolderDead: holder?.host === hostname() && !isProcessAlive(holder.pid),
    };
  } catch (error) {
    // Released meanwhile, or being deleted: the caller looks again.
    const code = codeOf(error) ?? "";
    if (code === "ENOENT" || (process.platform === "win32" && busyCodes.has(code))) return undefined;
    throw error;
  }
}

/** Removes the file if it still is the one that was found; returns whether it was. */
async function removeStale(file: string, found: { readonly inode: bigint; readonly text: string }): Promise<boolean> {
  // Each process renames to its own name; one that took a new claim by mistake restores it.
  const aside = `${file}.${randomUUID().slice(0, 8)}`;
  try {
    await rename(file, aside);
  } catch {
    return false;
  }
  const taken = await read(aside);
  const isSame = taken?.inode === found.inode && taken.text === found.text;
  if (!isSame) await link(aside, file).catch(() => undefined);
  await rm(aside, { force: true });
  return isSame;
}
