import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { PullFailed } from "../../../api/errors.ts";
import { advice } from "../../../api/next-step.ts";
import { formatBytes } from "../../../util/format-bytes.ts";

/** For a full disk. */
export const freeSpace = advice("free some disk space, or set OLLM_HOME to a folder on another disk");

/** Margin for rounding to blocks and for other writers. */
const reserveBytes = 50_000_000;

/** Throws `PullFailed` when the disk of `folder` has less than `bytes` plus a reserve free. */
export async function requireFreeSpace(folder: string, bytes: number): Promise<void> {
  const freeBytes = await freeBytesAt(folder);
  if (freeBytes >= bytes + reserveBytes) return;
  throw new PullFailed(
    `the embedded engine needs ${formatBytes(bytes + reserveBytes)} on the disk of ${folder}; ${formatBytes(freeBytes)} are free`,
    { next: freeSpace },
  );
}

/** Returns the bytes that this user can write, on the disk of the nearest folder that exists. */
async function freeBytesAt(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(folder);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === folder) throw error;
    return freeBytesAt(parent);
  }
}
