import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readdir, rmdir, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { StoreFailed } from "../../../api/errors.ts";
import { syncFolder, writeAside } from "../../../storage/replace-file.ts";

/** The system's error code (`ENOENT`); undefined for other errors. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** The error's message, without a stack. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Creates a folder that only this user can access. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
}

/** Writes `data` atomically: after a crash the file has all of it or its previous content. Mode 0600. */
export async function writeFileDurably(file: string, data: Uint8Array, platform: NodeJS.Platform): Promise<void> {
  // Two writers must not share it; with a leading dot it isn't read as a model's tag.
  const temporary = path.join(path.dirname(file), `.${randomBytes(6).toString("hex")}.tmp`);
  await writeAside(temporary, file, data, { mode: 0o600, platform });
  await syncFolder(path.dirname(file), platform);
}

/** Reads a regular file of at most `maxBytes`. Throws `StoreFailed` for anything else, or the system's error. */
export async function readSmallFile(file: string, maxBytes: number): Promise<Buffer> {
  const handle = await openRegularFile(file);
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) throw new StoreFailed(`${file} has ${size} bytes, more than the ${maxBytes} that are read`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

async function openRegularFile(file: string): Promise<FileHandle> {
  // Without O_NONBLOCK opening a pipe waits for its writer; Windows has neither.
  const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new StoreFailed(`${file} is not a regular file`);
}

/** Removes `folder` and its parents, up to but not including `root`, as long as they are empty. */
export async function removeEmptyFolders(folder: string, root: string): Promise<void> {
  for (let current = folder; current.startsWith(root + path.sep); current = path.dirname(current)) {
    const entries = await readdir(current);
    if (entries.length > 0) return;
    await rmdir(current);
  }
}

/** Writes all of `bytes` at `position`. */
export type WriteAt = (handle: FileHandle, bytes: Uint8Array, position: number) => Promise<void>;

export const writeAt: WriteAt = async (handle, bytes, position) => {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written);
    written += bytesWritten;
  }
};
