import { closeSync, openSync, readSync } from "node:fs";

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
