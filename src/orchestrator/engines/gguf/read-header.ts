import {
  templateFacts,
  tensorTypes,
  type GgufHeader,
  type GgufTensor,
  type TensorSummary,
  addTensor,
  isUsedKey,
  longestUsedArray,
  usedMetadata,
} from "./header.ts";
import { shortened } from "../../util/format-bytes.ts";
import { defined } from "../../util/values.ts";

/** llama.cpp's own limit (`GGML_MAX_NAME`); those for keys and texts are far beyond real files. */
const tensorNameBytes = 63;
const keyBytes = 65_535;
const textBytes = 16 * 1024 * 1024;
const maxDimensions = 4;
/** All keys together, which are kept in memory to detect duplicates. Those of a real file take a few thousand bytes. */
const allKeysBytes = 16 * 1024 * 1024;
/** Real headers have some forty; more are not read, as each takes time. */
const maxKeys = 200_000;
/** Texts in all arrays: the largest vocabularies have 300,000 words and twice as many merges. */
const maxTexts = 4_000_000;
/** The largest models have a few thousand. */
const maxTensors = 200_000;
const templateBytes = 1024 * 1024;
const usedTextBytes = 65_535;
/** The longest name in use has 19 characters. */
const longestArchitecture = 64;
const templateKey = "tokenizer.chat_template";
const alignmentKey = "general.alignment";

type ReadNumber = (bytes: Buffer, at: number) => unknown;

/** Fixed-size value types by number: their size and reader. */
const numberTypes: Readonly<Record<number, readonly [bytes: number, read: ReadNumber]>> = {
  0: [1, (bytes, at) => bytes.readUInt8(at)],
  1: [1, (bytes, at) => bytes.readInt8(at)],
  2: [2, (bytes, at) => bytes.readUInt16LE(at)],
  3: [2, (bytes, at) => bytes.readInt16LE(at)],
  4: [4, (bytes, at) => bytes.readUInt32LE(at)],
  5: [4, (bytes, at) => bytes.readInt32LE(at)],
  6: [4, (bytes, at) => finite(bytes.readFloatLE(at))],
  7: [1, (bytes, at) => bytes.readUInt8(at) !== 0],
  10: [8, (bytes, at) => safe(bytes.readBigUInt64LE(at))],
  11: [8, (bytes, at) => safe(bytes.readBigInt64LE(at))],
  12: [8, (bytes, at) => finite(bytes.readDoubleLE(at))],
};
const stringType = 8;
const arrayType = 9;

/** Receives the content of a header while it is parsed. */
interface HeaderVisitor {
  /** Returns the maximum bytes of a text for this key, or undefined to skip its value. */
  longestText(key: string): number | undefined;
  /** `value` is undefined if it was skipped; `items` is the length of an array. */
  entry(key: string, value: unknown, items: number | undefined): void;
  tensor(tensor: GgufTensor): void;
}

/**
 * Parses a GGUF header (formats 2 and 3) as strictly as llama.cpp's `gguf.cpp`, and checks that the file contains the data
 * of every tensor. Sizes in the header are compared with the file's size before memory is allocated. Throws `DamagedGguf`.
 */
export function parseHeader(
  source: ByteSource,
  visitor: HeaderVisitor,
): Pick<GgufHeader, "architecture" | "weightsBytes" | "fileBytes"> {
  const magic = source.read(0, Math.min(4, source.sizeBytes)).toString("latin1");
  if (magic !== "GGUF") throw new DamagedGguf(`it is not a GGUF file but ${describeContent(source)}`);
  const cursor = createCursor(source);
  cursor.skip(4);
  const version = cursor.u32();
  if (version === 0x02000000 || version === 0x03000000)
    throw new DamagedGguf("it is a big-endian GGUF file, which is not supported");
  if (version !== 2 && version !== 3) throw new DamagedGguf(`it has GGUF format ${version}; supported are 2 and 3`);
  // A tensor's entry takes at least 25 bytes (length of the name, dimensions, one dimension, type, offset), a key's 13.
  const maxTensorsInFile = Math.min(maxTensors, Math.floor(source.sizeBytes / 25));
  const tensorCount = cursor.count("the number of tensors", maxTensorsInFile);
  const keyCount = cursor.count("the number of keys", Math.min(maxKeys, Math.floor(source.sizeBytes / 13)));

  const { architecture, alignment } = readEntries(cursor, keyCount, visitor);
  if (typeof alignment !== "number" || !isPowerOfTwo(alignment))
    throw new DamagedGguf(`it is damaged: its alignment is ${shown(alignment)}, not a power of two`);
  if (typeof architecture !== "string" || architecture === "")
    throw new DamagedGguf("it has no architecture (general.architecture)");
  if (architecture.length > longestArchitecture)
    throw new DamagedGguf(`it is damaged: the name of its architecture has ${architecture.length} characters`);

  const { dataBytes, weightsBytes } = readTensors(cursor, tensorCount, alignment, visitor);
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment;
  const missing = dataStart + dataBytes - source.sizeBytes;
  if (missing > 0)
    throw new DamagedGguf(
      `it is incomplete: ${missing} of ${dataStart + dataBytes} bytes are missing (the file has ${source.sizeBytes})`,
    );
  return { architecture, weightsBytes, fileBytes: source.sizeBytes };
}

/** Returns the used part of a header, which is small for every file. Throws `DamagedGguf`. */
export function readHeader(source: ByteSource): GgufHeader {
  const entries = new Map<string, unknown>();
  const summary: TensorSummary = { tensors: {}, weightsByType: {} };
  let vocabularySize: number | undefined;
  let template: GgufHeader["template"];
  const read = parseHeader(source, {
    longestText: (key) => (key === templateKey ? templateBytes : isUsedKey(key) ? usedTextBytes : undefined),
    entry(key, value, items) {
      if (key === "tokenizer.ggml.tokens") vocabularySize = items;
      if (key === templateKey) template = typeof value === "string" && value !== "" ? templateFacts(value) : undefined;
      else if (value !== undefined) entries.set(key, value);
    },
    tensor: (tensor) => addTensor(summary, tensor),
  });
  refuseImmense(entries, read.architecture);
  return {
    ...read,
    metadata: usedMetadata((key) => entries.get(key), read.architecture),
    ...summary,
    ...defined({ template, vocabularySize }),
  };
}

/** Throws `DamagedGguf` for an integer of the architecture that `safe` gave as text: engines compute with it. */
function refuseImmense(entries: ReadonlyMap<string, unknown>, architecture: string): void {
  for (const [key, value] of entries) {
    if (!key.startsWith(`${architecture}.`)) continue;
    const immense = [value].flat().find((each) => typeof each === "string" && /^-?\d{16,}$/.test(each));
    if (immense !== undefined) throw new DamagedGguf(`it is damaged: ${key} is ${shown(immense)}`);
  }
}

function readEntries(cursor: Cursor, keyCount: number, visitor: HeaderVisitor) {
  const keys = new Set<string>();
  let keysBytes = 0;
  let textCount = 0;
  let architecture: unknown;
  let alignment: unknown = 32;
  for (let index = 0; index < keyCount; index++) {
    const key = cursor.text("a key", keyBytes);
    keysBytes += key.length;
    if (keysBytes > allKeysBytes)
      throw new DamagedGguf(`its first ${index + 1} keys take more than ${allKeysBytes} bytes`);
    if (key === "" || keys.has(key)) throw new DamagedGguf(`it is damaged: key ${index} is empty or a duplicate`);
    keys.add(key);
    const { value, items, texts } = readValue(
      cursor,
      key,
      maxTexts - textCount,
      key === alignmentKey ? keyBytes : visitor.longestText(key),
    );
    textCount += texts;
    if (key === alignmentKey) alignment = value;
    if (key === "general.architecture") architecture = value;
    visitor.entry(key, value, items);
  }
  return { architecture, alignment };
}

/** `value` is undefined for a skipped value and for an array that is too long; `items` is the length of an array. */
function readValue(cursor: Cursor, key: string, textsLeft: number, longestText: number | undefined) {
  const type = cursor.u32();
  if (type !== arrayType) return { value: readScalar(cursor, type, key, longestText), items: undefined, texts: 0 };
  const itemType = cursor.u32();
  const number = numberTypes[itemType];
  if (number === undefined && itemType !== stringType)
    throw new DamagedGguf(`it is damaged: key ${shown(key)} is an array of unknown type ${itemType}`);
  const itemBytes = number === undefined ? 8 : number[0];
  const items = cursor.count(`the length of ${shown(key)}`, Math.floor(cursor.remaining() / itemBytes));
  const texts = number === undefined ? items : 0;
  if (texts > textsLeft)
    throw new DamagedGguf(`its header has more than ${maxTexts} texts in lists, reached with ${shown(key)}`);
  if (longestText !== undefined && items <= longestUsedArray)
    return { value: Array.from({ length: items }, () => readScalar(cursor, itemType, key, longestText)), items, texts };
  if (number === undefined) for (let index = 0; index < items; index++) skipText(cursor, key);
  else cursor.skip(items * itemBytes);
  return { value: undefined, items, texts };
}

function readScalar(cursor: Cursor, type: number, key: string, longestText: number | undefined): unknown {
  const number = numberTypes[type];
  if (number === undefined && type !== stringType)
    throw new DamagedGguf(`it is damaged: key ${shown(key)} has unknown type ${type}`);
  if (longestText === undefined) return number === undefined ? skipText(cursor, key) : cursor.skip(number[0]);
  return number === undefined ? cursor.text(shown(key), longestText) : cursor.number(...number);
}

function skipText(cursor: Cursor, key: string): undefined {
  cursor.skip(cursor.count(shown(key), textBytes));
}

/** Shortens a value from a file for a message. */
function shown(value: unknown): string {
  return shortened(typeof value === "string" ? value : JSON.stringify(value), 100);
}

/** `dataBytes`: from the start of the data to the end of the last tensor, whose padding may be missing. */
function readTensors(cursor: Cursor, count: number, alignment: number, visitor: HeaderVisitor) {
  const names = new Set<string>();
  let dataBytes = 0;
  let weightsBytes = 0;
  let expectedOffset = 0;
  for (let index = 0; index < count; index++) {
    const name = cursor.text(`tensor ${index}'s name`, tensorNameBytes);
    if (names.has(name)) throw new DamagedGguf(`it is damaged: duplicate tensor ${name}`);
    names.add(name);
    const dimensions = cursor.u32();
    if (dimensions > maxDimensions)
      throw new DamagedGguf(
        `it is damaged: tensor ${name} has ${dimensions} dimensions, at most ${maxDimensions} are possible`,
      );
    const shape = Array.from({ length: dimensions }, () => cursor.count(`a dimension of ${name}`, 2 ** 48));
    const type = tensorTypes.get(cursor.u32());
    if (type === undefined) throw new DamagedGguf(`it is damaged, or too new: tensor ${name} has an unknown type`);
    const offset = cursor.count(`the offset of ${name}`, Number.MAX_SAFE_INTEGER);
    const numbers = shape.reduce((product, each) => product * each, 1);
    const bytes = (numbers / type.blockLength) * type.blockBytes;
    if ((shape[0] ?? 1) % type.blockLength !== 0 || !Number.isSafeInteger(numbers) || !Number.isSafeInteger(bytes))
      throw new DamagedGguf(`it is damaged: tensor ${name} can't be ${shape.join(" × ")} of ${type.name}`);
    // llama.cpp requires data without gaps in the order of the tensors, which detects nearly every damaged offset.
    if (offset !== expectedOffset)
      throw new DamagedGguf(`it is damaged: tensor ${name} has offset ${offset} instead of ${expectedOffset}`);
    visitor.tensor({ name, type: type.name, shape });
    weightsBytes += bytes;
    dataBytes = offset + bytes;
    expectedOffset = Math.ceil(dataBytes / alignment) * alignment;
  }
  return { weightsBytes, dataBytes };
}

/** Describes a file that is not a GGUF file by its first bytes. */
function describeContent(source: ByteSource): string {
  const head = source.read(0, Math.min(512, source.sizeBytes));
  if (head.length === 0) return "empty";
  const text = head.toString("latin1");
  const known: readonly (readonly [start: RegExp | string, name: string])[] = [
    [/^version https:\/\/git-lfs/, "a Git LFS pointer (git lfs pull downloads the file)"],
    [/^\s*(<!doctype html|<html)/i, "an HTML page (perhaps an error or login page)"],
    [/^.{8}\{\s*"/s, "a safetensors file"],
    ["PK\u0003\u0004", "a zip archive (or a PyTorch checkpoint)"],
    ["\u001f\u008b", "gzip-compressed data"],
    [/^(lmgg|fmgg|tjgg|algg)/, "a model in GGML's older format"],
    [/^\s*<\?xml/, "an XML document (perhaps an error message of a server)"],
    [/^\s*\{/, "JSON text"],
    [/^\0+$/, "only zeros at its start (perhaps an incomplete download)"],
    [/^[\t\n\r\x20-\x7e]+$/, "a text file"],
  ];
  const found = known.find(([start]) => (typeof start === "string" ? text.startsWith(start) : start.test(text)));
  return found?.[1] ?? `something else (it starts with ${head.toString("hex", 0, 4)})`;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}

function safe(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}

/** JSON, the format in which a header is sent, has neither NaN nor infinity. */
function finite(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

/** A file that is damaged or not a GGUF file; the message begins with "it" or "its". */
export class DamagedGguf extends Error {
  override readonly name = "DamagedGguf";
}

/** Random access to a file's bytes. Returns fewer bytes than requested at the end of the file. */
interface ByteSource {
  readonly sizeBytes: number;
  read(position: number, length: number): Buffer;
}

/** Reads little-endian numbers and strings in sequence. Every method throws `DamagedGguf` at the end of the file. */
type Cursor = ReturnType<typeof createCursor>;

/** Bytes read at once: most headers without a tokenizer fit, and one with 150,000 tokens takes few reads. */
const windowBytes = 256 * 1024;

/** Reads from the start through a window, so that memory depends neither on the file's size nor on its content. */
function createCursor(source: ByteSource) {
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
  const number = (bytes: number, read: ReadNumber): unknown => {
    const offset = take(bytes);
    return read(window, offset);
  };
  const count = (what: string, limit: number): number => {
    const offset = take(8);
    // A big integer for each of a million texts would take a second.
    const value = window.readUInt32LE(offset) + window.readUInt32LE(offset + 4) * 2 ** 32;
    if (value > limit) {
      const exact = window.readBigUInt64LE(offset);
      throw new DamagedGguf(`its header is cut off or damaged: ${what} is ${exact}, at most ${limit} is possible`);
    }
    return value;
  };
  // `take` may replace the window, so it has to run before `window` is read.
  return {
    position: () => at,
    remaining: () => source.sizeBytes - at,
    skip(bytes: number) {
      if (bytes > source.sizeBytes - at) take(bytes);
      at += bytes;
    },
    number,
    u32: () => Number(number(4, (bytes, offset) => bytes.readUInt32LE(offset))),
    /** Reads a u64 that is a count, a size or an offset, at most `limit`. */
    count,
    text(what: string, limit: number) {
      const length = count(`the length of ${what}`, limit);
      const offset = take(length);
      return window.toString("utf8", offset, offset + length);
    },
  };
}
