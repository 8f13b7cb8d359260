import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Opens a file for reading at once: opening a pipe would wait for its writer. Throws the system's error, or `NotRegular`. */
export async function openRegular(file: string): Promise<FileHandle> {
  return checked(file, await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
}

/** The same for appending; creates the file with `mode`. */
export async function openRegularToAppend(file: string, mode: number): Promise<FileHandle> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NONBLOCK ?? 0);
  return checked(file, await open(file, flags, mode));
}

/** The text of a regular file (UTF-8). Throws like `openRegular`. */
export async function readRegularText(file: string): Promise<string> {
  const handle = await openRegular(file);
  try {
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

/** A pipe, socket or device. */
export class NotRegular extends Error {
  constructor(file: string) {
    super(`${file} is not a regular file (a pipe, socket or device)`);
  }
}

async function checked(file: string, handle: FileHandle): Promise<FileHandle> {
  const found = await handle.stat();
  // Reading a folder fails with an error of its own.
  if (found.isFile() || found.isDirectory()) return handle;
  await handle.close();
  throw new NotRegular(file);
}
