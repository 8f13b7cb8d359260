import { randomUUID } from "node:crypto";
import { link, mkdir, open, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import { jsonIn } from "../util/parse-json.ts";
import { isProcessAlive } from "./process-alive.ts";
import { readRegularText } from "./replace-file.ts";
import { codeOf } from "../util/message-of.ts";

const heartbeatMs = 1_000;
/** A file untouched for this long may have no holder any more, whatever the process list shows: pids are reused. */
const staleMs = 10_000;
/** ... if it also stays untouched for this many looks: after a suspend the holder has not touched it yet either. */
const looksUntilStale = 8;
/** On Windows a scanner may have a file open, and the name of a deleted one may stay in use, for a moment. */
const busyCodes = new Set(["EPERM", "EACCES", "EBUSY"]);
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
