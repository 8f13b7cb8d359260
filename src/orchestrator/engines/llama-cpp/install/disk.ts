import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { PullFailed } from "../../../errors.ts";
import { advice } from "../../../next-step.ts";
import { formatBytes } from "../../../text/format-bytes.ts";

/** For a full disk. */
export const freeSpace = advice("free some disk space, or set OLLM_HOME to a folder on another disk");

/** For small files' rounding up to blocks, and for whatever else writes meanwhile. */
const reserveBytes = 50_000_000;

/** Throws `PullFailed` with both numbers when the disk of `folder` has less than `bytes` and a reserve left. */
export async function requireFreeSpace(folder: string, bytes: number): Promise<void> {
  const freeBytes = await freeBytesAt(folder);
  if (freeBytes >= bytes + reserveBytes) return;
  throw new PullFailed(
    `The embedded engine needs ${formatBytes(bytes + reserveBytes)} on the disk of ${folder}; ${formatBytes(freeBytes)} are free`,
    { next: freeSpace },
  );
}

/** Bytes this user may still write; asks the nearest folder that exists. */
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
