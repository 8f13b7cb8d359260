import { closeSync, existsSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";

/** Files into which llama.cpp writes the state of a sequence: `ggsq`, version and number of tokens, the tokens, then the cells. */
const [magic, headerBytes] = [0x67_67_73_71, 12];
const chunkBytes = 1024 ** 2;

/**
 * Copies a file for a context with so many sequences. After the tokens it has their number, and for each of them the number of its
 * cells, which is 0 but for the one that was written, and its cells. False: the file is of such a context.
 */
export async function copyFor(sequences: number, path: string, copy: string, tokens: number): Promise<boolean> {
  const from = openSync(path, "r");
  try {
    const numbersAt = headerBytes + tokens * 4;
    const numberAt = (position: number) => {
      const number = Buffer.alloc(4);
      if (readSync(from, number, 0, 4, position) < 4) throw new Error(`${path} is too short`);
      return number.readUInt32LE();
    };
    const written = numberAt(numbersAt);
    if (written === sequences) return false;
    let before = 0;
    while (before < written && numberAt(numbersAt + 4 + before * 4) === 0) before += 1;
    const [begin, end] = [numbersAt + 4 + before * 4, fstatSync(from).size - (written - 1 - before) * 4];
    const to = openSync(copy, "wx", 0o600);
    try {
      const pass = async (start: number, until: number) => {
        for await (const bytes of bytesOf(from, start, until)) writeSync(to, bytes);
      };
      await pass(0, numbersAt);
      writeSync(to, Buffer.from(Uint32Array.of(sequences).buffer));
      await pass(begin, end);
      writeSync(to, Buffer.alloc((sequences - 1) * 4));
    } finally {
      closeSync(to);
    }
    return true;
  } finally {
    closeSync(from);
  }
}

/**
 * Files are read on this thread, chunk by chunk with other work in between: libuv's only thread computes, and they would wait
 * for whole batches. Throws if there are fewer bytes than `until`.
 */
export async function* bytesOf(file: number, start = 0, until = fstatSync(file).size): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(chunkBytes);
  for (let position = start; position < until;) {
    const length = readSync(file, buffer, 0, Math.min(chunkBytes, until - position), position);
    if (length === 0) throw new Error("a file is too short");
    yield buffer.subarray(0, length);
    position += length;
    await nextTurn();
  }
}

/** Length of the prefix that the tokens of a file share with a prompt; 0 if it is no such file. */
export function commonLength(path: string, tokens: number, prompt: readonly number[]): number {
  // Another process may have deleted it.
  if (!existsSync(path)) return 0;
  const file = openSync(path, "r");
  try {
    const most = Math.min(tokens, prompt.length);
    const head = Buffer.alloc(headerBytes + most * 4);
    const length = readSync(file, head, 0, head.length, 0);
    if (length < head.length || head.readUInt32LE(0) !== magic || head.readUInt32LE(8) !== tokens) return 0;
    let common = 0;
    while (common < most && head.readInt32LE(headerBytes + common * 4) === prompt[common]) common += 1;
    return common;
  } finally {
    closeSync(file);
  }
}
