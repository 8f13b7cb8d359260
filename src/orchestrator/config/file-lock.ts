import { randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { StoreFailed } from "../api/errors.ts";
import { isProcessAlive } from "../storage/process-alive.ts";
import { advice, type NextStep } from "../api/next-step.ts";

/** A change takes milliseconds: an older lock was left behind, whichever process has its id now. */
const staleMs = 10_000;
const waitMs = 15_000;
const pollMs = 15;

/**
 * Runs `work` while holding a lock on `file`, which the daemon and all commands respect. Removes the lock of a process
 * that died. Throws `StoreFailed` when the folder can't be written or the lock is never released.
 */
export async function whileLocked<Result>(
  file: string,
  work: () => Promise<Result>,
  platform: NodeJS.Platform = process.platform,
): Promise<Result> {
  const lock = `${await realpath(file).catch(() => file)}.lock`;
  await take(lock, platform);
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

const makeWritable = advice("free some disk space, or make the folder writable");

function notTaken(lock: string, cause: unknown, next: NextStep): StoreFailed {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StoreFailed(`nothing was changed: ${lock} can't be created: ${reason}`, { next, cause });
}

async function take(lock: string, platform: NodeJS.Platform): Promise<void> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    // EEXIST here means that the folder is a file: waiting would not help.
    await mkdir(path.dirname(lock), { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw notTaken(lock, error, makeWritable);
    });
    try {
      const handle = await open(lock, "wx", 0o600);
      try {
        await handle.writeFile(String(process.pid));
      } catch (error) {
        // On a full disk the lock has no process id, and others would wait until it is stale.
        await rm(lock, { force: true });
        throw error;
      } finally {
        await handle.close();
      }
      return;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      // On Windows a file that is being deleted still blocks its name.
      const isTaken = code === "EEXIST" || (platform === "win32" && /^(?:EPERM|EACCES|EBUSY)$/.test(code));
      if (!isTaken) throw notTaken(lock, error, makeWritable);
      if (Date.now() >= deadline) {
        throw new StoreFailed(`nothing was changed: another process holds ${lock}`, {
          next: { step: "retry" },
          cause: error,
        });
      }
    }
    if (!(await removeStale(lock))) await pause(pollMs);
  }
}

/** Removes a stale lock; returns whether there was one. */
async function removeStale(lock: string): Promise<boolean> {
  const holder = await holderOf(lock);
  if (holder === undefined || !holder.isStale) return false;
  // Each process renames to its own name; one that took a new lock by mistake restores it.
  const aside = `${lock}.${randomBytes(4).toString("hex")}`;
  try {
    await rename(lock, aside);
  } catch {
    return false;
  }
  const taken = await holderOf(aside);
  if (taken?.inode !== holder.inode || taken.text !== holder.text) await link(aside, lock).catch(() => undefined);
  await rm(aside, { force: true });
  return true;
}

async function holderOf(
  lock: string,
): Promise<{ readonly text: string; readonly inode: bigint; readonly isStale: boolean } | undefined> {
  try {
    const { mtimeMs, ino } = await stat(lock, { bigint: true });
    const text = await readFile(lock, "utf8");
    const isOld = Date.now() - Number(mtimeMs) > staleMs;
    return { text, inode: ino, isStale: isOld || (/^\d+$/.test(text) && !isProcessAlive(Number(text))) };
  } catch {
    // Released meanwhile, or being deleted: the caller tries again.
    return undefined;
  }
}
