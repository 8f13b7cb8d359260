import { randomBytes } from "node:crypto";
import type { Stats } from "node:fs";
import { open, realpath, rename, rm, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** Windows: a scanner or indexer that has the file open for a moment makes a rename fail with one of these. */
const busyCodes = new Set(["EPERM", "EACCES", "EBUSY"]);
const busyDelaysMs = [10, 50, 200, 500];

export interface WrittenAs {
  /** Of a new file, and of the one that was there unless its own is kept. */
  readonly mode: number;
  readonly platform: NodeJS.Platform;
}

/**
 * A file of the user's has all of `data` or is as it was before, whenever the process or the machine ends. (Not by
 * write-file-atomic: on a disk that fills up it takes half of a file for the whole.) A link's target is what is replaced,
 * and its owner stays; its mode becomes `mode`, and stays where none is given.
 */
export async function replaceFile(
  file: string,
  data: string | Uint8Array,
  { mode, platform = process.platform }: Partial<WrittenAs> = {},
): Promise<void> {
  const target = await realpath(file).catch(() => file);
  const before = await stat(target).catch(() => undefined);
  const temporary = path.join(path.dirname(target), `.${path.basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  await writeAside(temporary, target, data, {
    mode: mode ?? modeOf(before) ?? 0o666,
    platform,
    prepare: async (handle) => {
      if (before === undefined || platform === "win32") return;
      // The umask cut what `open` was told. Who may not give files away, or whose disk knows no modes, keeps what it has.
      await handle.chown(before.uid, before.gid).catch(() => undefined);
      await handle.chmod(mode ?? modeOf(before)).catch(() => undefined);
    },
  });
}

function modeOf(facts: Stats): number;
function modeOf(facts: Stats | undefined): number | undefined;
function modeOf(facts: Stats | undefined): number | undefined {
  return facts === undefined ? undefined : facts.mode & 0o777;
}

/**
 * Writes `temporary` and renames it over `target` once all of `data` is on disk; what fails leaves `target` as it was and
 * no `temporary`. The caller syncs the folder (`syncFolder`) where the name must outlive a loss of power, too.
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

/** Renames over whatever is there, waiting out a busy file on Windows (under a second in all). */
export async function renameOver(from: string, to: string, platform: NodeJS.Platform): Promise<void> {
  for (const delayMs of platform === "win32" ? busyDelaysMs : []) {
    try {
      return await rename(from, to);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      if (!busyCodes.has(code)) throw error;
      await delay(delayMs);
    }
  }
  await rename(from, to);
}

/** Puts the folder's entries on disk; Windows has no way to do that and needs none. */
export async function syncFolder(folder: string, platform: NodeJS.Platform): Promise<void> {
  if (platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
