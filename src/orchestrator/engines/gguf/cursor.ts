/** A file that is damaged or not a GGUF file; the message begins with "it" or "its". */
export class DamagedGguf extends Error {
  override readonly name = "DamagedGguf";
}

/** Random access to a file's bytes. Returns fewer bytes than requested at the end of the file. */
export interface ByteSource {
  readonly sizeBytes: number;
  read(position: number, length: number): Buffer;
}

/** Reads little-endian numbers and strings in sequence. Every method throws `DamagedGguf` at the end of the file. */
export interface Cursor {
  position(): number;
  remaining(): number;
  skip(bytes: number): void;
  u8(): number;
  i8(): number;
  u16(): number;
  i16(): number;
  u32(): number;
  i32(): number;
  f32(): number;
  f64(): number;
  u64(): bigint;
  i64(): bigint;
  /** Reads a u64 that is a count, a size or an offset, at most `limit`. */
  count(what: string, limit: number): number;
  text(what: string, limit: number): string;
}

/** Bytes read at once: most headers without a tokenizer fit, and one with 150,000 tokens takes few reads. */
const windowBytes = 256 * 1024;

/** Reads from the start through a window, so that memory depends neither on the file's size nor on its content. */
export function createCursor(source: ByteSource): Cursor {
  let at = 0;
  let window = source.read(0, Math.min(windowBytes, source.sizeBytes));
  let windowStart = 0;

  /** Advances by `length` bytes and returns their offset in `window`. */
  const take = (length: number): number => {
    if (length > source.sizeBytes - at)
      throw new DamagedGguf(
        `its header is cut off or damaged: it needs ${at + length} bytes, the file has ${source.sizeBytes}`,
      );
    if (at < windowStart || at + length > windowStart + window.length) {
      window = source.read(at, Math.max(length, Math.min(windowBytes, source.sizeBytes - at)));
      windowStart = at;
      if (window.length < length) throw new DamagedGguf("it became shorter while it was read");
    }
    const offset = at - windowStart;
    at += length;
    return offset;
  };
  const u64 = (): bigint => {
    const offset = take(8);
    return window.readBigUInt64LE(offset);
  };
  const count = (what: string, limit: number): number => {
    const value = u64();
    if (value > BigInt(limit))
      throw new DamagedGguf(`its header is cut off or damaged: ${what} is ${value}, at most ${limit} is possible`);
    return Number(value);
  };
  // `take` may replace the window, so it has to run before `window` is read.
  return {
    position: () => at,
    remaining: () => source.sizeBytes - at,
    skip(bytes) {
      if (bytes > source.sizeBytes - at) take(bytes);
      at += bytes;
    },
    u8: () => ((offset) => window.readUInt8(offset))(take(1)),
    i8: () => ((offset) => window.readInt8(offset))(take(1)),
    u16: () => ((offset) => window.readUInt16LE(offset))(take(2)),
    i16: () => ((offset) => window.readInt16LE(offset))(take(2)),
    u32: () => ((offset) => window.readUInt32LE(offset))(take(4)),
    i32: () => ((offset) => window.readInt32LE(offset))(take(4)),
    f32: () => ((offset) => window.readFloatLE(offset))(take(4)),
    f64: () => ((offset) => window.readDoubleLE(offset))(take(8)),
    u64,
    i64: () => ((offset) => window.readBigInt64LE(offset))(take(8)),
    count,
    text(what, limit) {
      const length = count(`the length of ${what}`, limit);
      const offset = take(length);
      return window.toString("utf8", offset, offset + length);
    },
  };
}
