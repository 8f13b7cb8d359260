import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { codeOf } from "../orchestrator/util/message-of.ts";

/**
 * Creates a file that must not exist yet, atomically: of several processes exactly one gets `true`, and no reader sees
 * half of it. Mode 0600.
 */
export function createExclusively(path: string, content: string): boolean {
  const temporary = `${path}.${randomHex(6)}.new`;
  try {
    writeFileSync(temporary, content, { mode: 0o600, flag: "wx" });
    linkSync(temporary, path);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === "EEXIST") return false;
    // File systems without hard links (exFAT, some network mounts): exclusive too, but not atomic.
    if (code === "EPERM" || code === "ENOSYS" || code === "ENOTSUP" || code === "EOPNOTSUPP" || code === "EMLINK") {
      return writeExclusively(path, content);
    }
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

function writeExclusively(path: string, content: string): boolean {
  try {
    writeFileSync(path, content, { mode: 0o600, flag: "wx" });
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

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

/**
 * Random hexadecimal digits, two a byte, from the system's source. `node:crypto` is used only where there is no such
 * device: loading it takes a tenth of a front's start.
 */
export function randomHex(bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  let read = 0;
  try {
    const device = openSync("/dev/urandom", "r");
    try {
      read = readSync(device, buffer, 0, bytes, null);
    } finally {
      closeSync(device);
    }
  } catch {
    read = 0; // Windows
  }
  if (read !== bytes) process.getBuiltinModule("crypto").randomFillSync(buffer);
  return buffer.toString("hex");
}
