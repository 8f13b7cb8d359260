import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, realpath, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";

/** `missing`: there is none. `problem`: why it is not read, in words that follow its name. */
export type SmallFile =
  | { readonly text: string; readonly sha256: string }
  | { readonly missing: true }
  | { readonly problem: string };

/**
 * The text of a regular file of at most `maxBytes` that really lies in `folder` (resolved), read once. Links may lead
 * elsewhere in the folder, never out of it.
 */
export async function readSmall(file: string, folder: string, maxBytes: number): Promise<SmallFile> {
  let handle: FileHandle | undefined;
  try {
    const real = await realpath(file);
    if (!isWithin(folder, real)) return { problem: "leads out of the project" };
    // Before opening: opening a device can have effects, and a FIFO would wait for a writer.
    if (!(await stat(real)).isFile()) return { problem: "is no regular file" };
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);
    handle = await open(real, flags);
    if (!(await handle.stat()).isFile()) return { problem: "is no regular file" };
    const content = await readUpTo(handle, maxBytes);
    if (content === undefined) return { problem: `is larger than ${maxBytes} bytes` };
    return { text: content.toString("utf8"), sha256: createHash("sha256").update(content).digest("hex") };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") return { missing: true };
    return { problem: `can't be read (${typeof code === "string" ? code : String(error)})` };
  } finally {
    await handle?.close();
  }
}

/** Whether `file` lies below `folder`; both resolved. */
export function isWithin(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== "" && !path.isAbsolute(relative) && relative !== ".." && !relative.startsWith(`..${path.sep}`);
}

/** Undefined when there is more; the size that a file states is not believed. */
async function readUpTo(handle: FileHandle, maxBytes: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(maxBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, Math.min(65_536, buffer.length - length), null);
    if (bytesRead === 0) return buffer.subarray(0, length);
    length += bytesRead;
  }
  return undefined;
}
