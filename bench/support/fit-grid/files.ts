import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import type { GgufHeader } from "../../../src/orchestrator/engines/gguf/header.ts";
import { DamagedGguf, readHeader } from "../../../src/orchestrator/engines/gguf/read-header.ts";

/** Only the first part of a model in several files is returned; the others have no keys of their own. */
const laterPart = /-(?!00001)\d{5}-of-\d{5}\.gguf$/i;

/** All GGUF files of a folder, by name. Throws `InvalidRequest` where there are none. */
export async function filesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new InvalidRequest(`${folder} can't be read: ${error instanceof Error ? error.message : String(error)}`, {
      next: advice("name a folder that contains GGUF files"),
    });
  });
  const found: string[] = [];
  // Folders and pipes may have such names too; reading a pipe would never end.
  for (const name of names.toSorted())
    if (/\.gguf$/i.test(name) && !laterPart.test(name) && (await isFile(join(folder, name)))) found.push(name);
  if (found.length > 0) return found;
  throw new InvalidRequest(`no file in ${folder} ends in .gguf`, {
    next: advice("name a folder that contains GGUF files"),
  });
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}

/** No file is larger; what a header claims is believed up to this. */
const endlessBytes = 2 ** 50;

/** Or the file's problem. The tensors' data may be missing: the allocator reads only the header. */
export function headerOf(file: string): GgufHeader | string {
  try {
    const header = readOne(file);
    const parts = header.metadata["split.count"];
    return typeof parts === "number" && parts > 1 ? `it is one of ${parts} parts: join them first` : header;
  } catch (error) {
    if (error instanceof DamagedGguf) return error.message;
    if (error instanceof Error && "code" in error) return `it can't be read: ${error.message}`;
    throw error;
  }
}

function readOne(file: string): GgufHeader {
  const descriptor = openSync(file, "r");
  const read = (position: number, length: number) => {
    const buffer = Buffer.allocUnsafe(length);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, length, position));
  };
  try {
    const sizeBytes = fstatSync(descriptor).size;
    try {
      return readHeader({ sizeBytes, read });
    } catch (whole) {
      // A problem is reported with the file's real size, unless only the data of its tensors is missing.
      try {
        return readHeader({ sizeBytes: endlessBytes, read });
      } catch {
        throw whole;
      }
    }
  } finally {
    closeSync(descriptor);
  }
}
