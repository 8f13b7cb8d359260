/** Entry of the process that reads one GGUF header: receives a path by IPC, replies with a `GgufAnswer`, and ends. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { GgufAnswer } from "./header.ts";
import { DamagedGguf, readHeader } from "./read-header.ts";
import { messageOf } from "../../util/values.ts";

process.once("message", (file) => {
  process.send?.(answer(String(file)), () => process.disconnect());
});

function answer(file: string): GgufAnswer {
  try {
    const descriptor = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const header = readHeader({
        sizeBytes: fstatSync(descriptor).size,
        read(position, length) {
          const buffer = Buffer.allocUnsafe(length);
          return buffer.subarray(0, readSync(descriptor, buffer, 0, length, position));
        },
      });
      return { header };
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof DamagedGguf) return { damage: error.message };
    return { damage: `it can't be read: ${messageOf(error)}` };
  }
}
