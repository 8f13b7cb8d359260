import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, realpath, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";

/** A problem of a file, which follows its name. */
export const outside = "is a link out of the project";

/** `missing`: there is no file. `problem`: why it is not read; follows the file's name. */
export type SmallFile =
  | { readonly text: string; readonly sha256: string }
  | { readonly missing: true }
  | { readonly problem: string };

/**
 * The text of a regular file of at most `maxBytes` inside `folder` (resolved), read once. Follows links inside the folder
 * only.
 */
export async function readSmall(file: string, folder: string, maxBytes: number): Promise<SmallFile> {
  let handle: FileHandle | undefined;
  try {
    const real = await realpath(file);
    if (!isWithin(folder, real)) return { problem: outside };
    // Before opening: opening a device can have effects, and a FIFO would wait for a writer.
    if (!(await stat(real)).isFile()) return { problem: "is not a regular file" };
    const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);
    handle = await open(real, flags);
    if (!(await handle.stat()).isFile()) return { problem: "is not a regular file" };
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

/** Whether `file` is inside `folder`; both resolved. */
export function isWithin(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== "" && !path.isAbsolute(relative) && relative !== ".." && !relative.startsWith(`..${path.sep}`);
}

/** Undefined when the file is longer than `maxBytes`, whatever size it reports. */
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
