import { randomBytes } from "node:crypto";
import { constants, copyFile, mkdir, realpath, rm, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { openRegularToAppend, readRegularText, renameOver, syncFolder, writeAside } from "./replace-file.ts";
import { undefinedIfMissing } from "../util/values.ts";

/** The disk of a document; tests use fakes that fail, or count syncs. Names are plain (`memory.json`). */
export type DocumentFiles = ReturnType<typeof createDocumentFiles>;

/** A file open for appending. */
interface Tail {
  readonly handle: FileHandle;
  readonly inode: bigint;
  /** Bytes on disk. */
  sizeBytes: number;
  /** A part of a failed append may follow them. */
  isTorn: boolean;
}

/** Files (mode 0600) in `folder` (mode 0700), which the first write creates. Replacing a link replaces its target. */
export function createDocumentFiles(folder: string, platform: NodeJS.Platform = process.platform) {
  const tails = new Map<string, Tail>();
  const pathOf = (name: string): string => path.join(folder, name);

  async function release(name: string): Promise<void> {
    const tail = tails.get(name);
    if (tail === undefined) return;
    tails.delete(name);
    await tail.handle.close();
  }

  async function openTail(name: string): Promise<Tail> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const handle = await openRegularToAppend(pathOf(name), 0o600);
    try {
      const { size, ino } = await handle.stat({ bigint: true });
      // A new file's name must survive a loss of power, too.
      if (size === 0n) await syncFolder(folder, platform);
      const tail = { handle, inode: ino, sizeBytes: Number(size), isTorn: false };
      tails.set(name, tail);
      return tail;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async function truncateTorn(tail: Tail): Promise<void> {
    tail.isTorn = true;
    await tail.handle.truncate(tail.sizeBytes);
    await tail.handle.datasync();
    tail.isTorn = false;
  }

  return {
    /** Undefined when there is no file. */
    read: (name: string): Promise<string | undefined> => readRegularText(pathOf(name)).catch(undefinedIfMissing),
    /** Replaces the file atomically; it is on disk when the promise resolves. */
    async replace(name: string, text: string): Promise<void> {
      await release(name);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const target = await realpath(pathOf(name)).catch(() => pathOf(name));
      // A fixed name, so that the file of a killed process is overwritten.
      const temporary = path.join(path.dirname(target), `.${name}.tmp`);
      await writeAside(temporary, target, text, { mode: 0o600, platform });
      await syncFolder(path.dirname(target), platform);
    },
    /**
     * Appends to the file, creating it if needed; the text is on disk (fsync) when the promise resolves. A failed append
     * is undone, at the latest by the next one. One call at a time per file.
     */
    async append(name: string, text: string): Promise<void> {
      const tail = tails.get(name) ?? (await openTail(name));
      if (tail.isTorn) await truncateTorn(tail);
      const bytes = Buffer.from(text);
      try {
        await tail.handle.writeFile(bytes);
        await tail.handle.datasync();
        tail.sizeBytes += bytes.length;
      } catch (error) {
        // Reports the first error; the next append tries again.
        await truncateTorn(tail).catch(() => undefined);
        throw error;
      }
    },
    /** Whether the file still has what was appended; false when it was removed, replaced or truncated meanwhile. */
    async holds(name: string): Promise<boolean> {
      // Any error: on Windows, `stat` fails for a deleted file that is still open.
      const found = await stat(pathOf(name), { bigint: true }).catch(() => undefined);
      if (found === undefined) return false;
      const tail = tails.get(name);
      if (tail === undefined) return found.size > 0n;
      return found.ino === tail.inode && found.size >= BigInt(tail.sizeBytes);
    },
    /** Removes the file if there is one. */
    async remove(name: string): Promise<void> {
      await release(name);
      await rm(pathOf(name), { force: true });
    },
    /** Renames a file that can't be parsed (`memory.json.broken-<time>`), or copies it; returns the new path. */
    async setAside(name: string, isCopied = false): Promise<string> {
      await release(name);
      const time = new Date((await stat(pathOf(name))).mtimeMs).toISOString().replaceAll(/[:.]/g, "-");
      const broken = pathOf(`${name}.broken-${time}-${randomBytes(2).toString("hex")}`);
      if (isCopied) await copyFile(pathOf(name), broken, constants.COPYFILE_EXCL);
      else await renameOver(pathOf(name), broken, platform);
      await syncFolder(folder, platform);
      return broken;
    },
    /** Closes the handle that is kept open for the next `append`. */
    release,
  };
}

/** The same files, read-only: writes fail with `reason`. */
export function readOnlyFiles(files: DocumentFiles, reason: string): DocumentFiles {
  const refuse = (): Promise<never> => Promise.reject(new Error(reason));
  return { ...files, replace: refuse, append: refuse, remove: refuse, setAside: refuse };
}
