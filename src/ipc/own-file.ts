import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

/** Far more than a claim or a token needs. */
const maxBytes = 256 * 1024;
/** Opening a FIFO would wait for a writer. Windows has neither. */
const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** Reads a small file in the run folder. Throws the system's error, and for all but small regular files. */
export function readOwnFile(path: string): string {
  const descriptor = openSync(path, flags);
  try {
    const facts = fstatSync(descriptor);
    if (!facts.isFile() || facts.size > maxBytes) throw new Error(`${path} is not a file that ollm wrote`);
    return readFileSync(descriptor, "utf8");
  } finally {
    closeSync(descriptor);
  }
}
