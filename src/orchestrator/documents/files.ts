import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, realpath, rm, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { renameOver, syncFolder, writeAside } from "../files/replace-file.ts";

/** The disk below a document: tests fill it up, break it and count what is synced. Names are plain (`memory.json`). */
export interface DocumentFiles {
  /** Undefined when there is none. */
  read(name: string): Promise<string | undefined>;
  /** In one step, and on disk when it resolves: nobody ever reads half a file. */
  replace(name: string, text: string): Promise<void>;
  /**
   * Adds to the end, making the file; on disk (fsync) when it resolves. One that fails leaves the file as it was: where
   * even that fails, the next one begins with it. One at a time per file.
   */
  append(name: string, text: string): Promise<void>;
  /** Whether what was appended still stands there: not when somebody removed, replaced or emptied the file meanwhile. */
  holds(name: string): Promise<boolean>;
  /** Not an error when there is none. */
  remove(name: string): Promise<void>;
  /** Renames what can't be read (`memory.json.broken-<time>`), and answers with its new path. */
  setAside(name: string): Promise<string>;
  /** Lets go of what is held open for the next `append`. */
  release(name: string): Promise<void>;
}

/** A file open for appending. */
interface Tail {
  readonly handle: FileHandle;
  readonly inode: bigint;
  /** Bytes that are on disk. */
  sizeBytes: number;
  /** Behind them may stand half of a text that failed. */
  isTorn: boolean;
}

/** Files in `folder` (mode 0700), which the first write makes; files have mode 0600. A link's target is what is replaced. */
export function createDocumentFiles(folder: string, platform: NodeJS.Platform = process.platform): DocumentFiles {
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
    const handle = await open(pathOf(name), "a", 0o600);
    try {
      const { size, ino } = await handle.stat({ bigint: true });
      // A new name must outlive a loss of power as well as what stands under it.
      if (size === 0n) await syncFolder(folder, platform);
      const tail = { handle, inode: ino, sizeBytes: Number(size), isTorn: false };
      tails.set(name, tail);
      return tail;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async function tear(tail: Tail): Promise<void> {
    tail.isTorn = true;
    await tail.handle.truncate(tail.sizeBytes);
    await tail.handle.datasync();
    tail.isTorn = false;
  }

  return {
    async read(name) {
      try {
        return await readFile(pathOf(name), "utf8");
      } catch (error) {
        if (["ENOENT", "ENOTDIR"].includes(codeOf(error))) return undefined;
        throw error;
      }
    },
    async replace(name, text) {
      await release(name);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const target = await realpath(pathOf(name)).catch(() => pathOf(name));
      // One name, so that what a killed process leaves behind is overwritten by the next.
      const temporary = path.join(path.dirname(target), `.${name}.tmp`);
      await writeAside(temporary, target, text, { mode: 0o600, platform });
      await syncFolder(path.dirname(target), platform);
    },
    async append(name, text) {
      const tail = tails.get(name) ?? (await openTail(name));
      if (tail.isTorn) await tear(tail);
      const bytes = Buffer.from(text);
      try {
        await tail.handle.writeFile(bytes);
        await tail.handle.datasync();
        tail.sizeBytes += bytes.length;
      } catch (error) {
        // The first error tells what happened; this one comes again with the next append.
        await tear(tail).catch(() => undefined);
        throw error;
      }
    },
    async holds(name) {
      // Whatever the error: Windows refuses a look at what is deleted but still open.
      const found = await stat(pathOf(name), { bigint: true }).catch(() => undefined);
      if (found === undefined) return false;
      const tail = tails.get(name);
      if (tail === undefined) return found.size > 0n;
      return found.ino === tail.inode && found.size >= BigInt(tail.sizeBytes);
    },
    async remove(name) {
      await release(name);
      await rm(pathOf(name), { force: true });
    },
    async setAside(name) {
      await release(name);
      const time = new Date((await stat(pathOf(name))).mtimeMs).toISOString().replaceAll(/[:.]/g, "-");
      const broken = pathOf(`${name}.broken-${time}-${randomBytes(2).toString("hex")}`);
      await renameOver(pathOf(name), broken, platform);
      await syncFolder(folder, platform);
      return broken;
    },
    release,
  };
}

/** The same files, to be read only: what would be written fails with `reason`. */
export function readOnlyFiles(files: DocumentFiles, reason: string): DocumentFiles {
  const refuse = (): Promise<never> => Promise.reject(new Error(reason));
  return { ...files, replace: refuse, append: refuse, remove: refuse, setAside: refuse };
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
