import { open, stat, truncate } from "node:fs/promises";
import { tensorTypes } from "../../src/orchestrator/engines/gguf/header.ts";

/** Value types of the GGUF format and their numbers. */
const valueTypes = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  u64: 10,
  i64: 11,
  f64: 12,
};
const arrayType = 9;
export type ValueType = keyof typeof valueTypes;

/** A key with its value; an array of values becomes a GGUF array. 64-bit values are bigint. */
export type MetadataEntry = readonly [key: string, type: ValueType, value: MetadataScalar | readonly MetadataScalar[]];
type MetadataScalar = string | number | bigint | boolean;

export interface TensorToWrite {
  readonly name: string;
  /** `F32`, `Q4_K`, ... */
  readonly type: string;
  /** As in the file: row length first, then the number of rows. */
  readonly shape: readonly number[];
  /** Must have the tensor's size; default: a hole. */
  readonly data?: Buffer;
}

export interface GgufToWrite {
  readonly metadata: readonly MetadataEntry[];
  readonly tensors: readonly TensorToWrite[];
  /** Power of two; written as `general.alignment` unless it is the format's default. */
  readonly alignment?: number;
  readonly version?: number;
}

/** The header with its padding, and the offsets of the tensors' data. */
export interface EncodedGguf {
  readonly header: Buffer;
  readonly dataOffsets: readonly number[];
  readonly fileBytes: number;
}

/** Encodes a GGUF header (format 3, little endian) like llama.cpp: data in the order of the tensors, each padded. */
export function encodeGguf({ metadata, tensors, alignment = 32, version = 3 }: GgufToWrite): EncodedGguf {
  const pad = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;
  const entries: readonly MetadataEntry[] =
    alignment === 32 ? metadata : [...metadata, ["general.alignment", "u32", alignment]];
  const parts: Buffer[] = [
    Buffer.from("GGUF"),
    scalar("u32", version),
    scalar("u64", BigInt(tensors.length)),
    scalar("u64", BigInt(entries.length)),
  ];
  for (const [key, type, value] of entries) {
    parts.push(scalar("string", key));
    if (isArray(value)) {
      parts.push(scalar("u32", arrayType), scalar("u32", valueTypes[type]), scalar("u64", BigInt(value.length)));
      for (const item of value) parts.push(scalar(type, item));
    } else {
      parts.push(scalar("u32", valueTypes[type]), scalar(type, value));
    }
  }
  let relative = 0;
  const offsets: number[] = [];
  for (const tensor of tensors) {
    parts.push(scalar("string", tensor.name), scalar("u32", tensor.shape.length));
    for (const dimension of tensor.shape) parts.push(scalar("u64", BigInt(dimension)));
    parts.push(scalar("u32", typeNumber(tensor.type)), scalar("u64", BigInt(relative)));
    offsets.push(relative);
    relative += pad(tensorBytes(tensor));
  }
  const header = Buffer.concat(parts);
  const dataStart = pad(header.length);
  return {
    header: Buffer.concat([header, Buffer.alloc(dataStart - header.length)]),
    dataOffsets: offsets.map((offset) => dataStart + offset),
    fileBytes: dataStart + relative,
  };
}

/**
 * Writes a GGUF file. Tensors without data become holes: on Linux and macOS a 40 GB file takes only the header's space on
 * disk. Windows allocates the whole file, so huge ones must not be written there.
 */
export async function writeGguf(path: string, gguf: GgufToWrite): Promise<EncodedGguf> {
  const encoded = encodeGguf(gguf);
  const file = await open(path, "w");
  try {
    await file.write(encoded.header, 0, encoded.header.length, 0);
    for (const [index, { data }] of gguf.tensors.entries()) {
      if (data !== undefined) await file.write(data, 0, data.length, encoded.dataOffsets[index] ?? 0);
    }
    await file.truncate(encoded.fileBytes);
  } finally {
    await file.close();
  }
  return encoded;
}

/** Returns the bytes of a tensor without padding. */
export function tensorBytes({ type, shape }: Pick<TensorToWrite, "type" | "shape">): number {
  const found = tensorTypes.get(typeNumber(type));
  if (found === undefined) throw new Error(`unknown tensor type ${type}`);
  return (shape.reduce((product, each) => product * each, 1) / found.blockLength) * found.blockBytes;
}

/** Removes `bytes` from the end, like an incomplete download. */
export async function truncateBy(path: string, bytes: number): Promise<void> {
  await truncate(path, (await stat(path)).size - bytes);
}

/** Flips one bit (counted from the file's start, lowest bit of a byte first). */
export async function flipBit(path: string, bit: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, Math.floor(bit / 8));
    byte.writeUInt8(byte.readUInt8(0) ^ (1 << (bit % 8)));
    await file.write(byte, 0, 1, Math.floor(bit / 8));
  } finally {
    await file.close();
  }
}

function typeNumber(name: string): number {
  for (const [number, type] of tensorTypes) if (type.name === name) return number;
  throw new Error(`unknown tensor type ${name}`);
}

function isArray(value: MetadataEntry[2]): value is readonly MetadataScalar[] {
  return Array.isArray(value);
}

function scalar(type: ValueType, value: MetadataScalar): Buffer {
  if (type === "string") {
    const text = Buffer.from(String(value));
    return Buffer.concat([scalar("u64", BigInt(text.length)), text]);
  }
  const buffer = Buffer.alloc(8);
  switch (type) {
    case "u64":
      return buffer.subarray(0, buffer.writeBigUInt64LE(BigInt(value)));
    case "i64":
      return buffer.subarray(0, buffer.writeBigInt64LE(BigInt(value)));
    case "f32":
      return buffer.subarray(0, buffer.writeFloatLE(Number(value)));
    case "f64":
      return buffer.subarray(0, buffer.writeDoubleLE(Number(value)));
    case "u32":
      return buffer.subarray(0, buffer.writeUInt32LE(Number(value)));
    case "i32":
      return buffer.subarray(0, buffer.writeInt32LE(Number(value)));
    case "u16":
      return buffer.subarray(0, buffer.writeUInt16LE(Number(value)));
    case "i16":
      return buffer.subarray(0, buffer.writeInt16LE(Number(value)));
    case "i8":
      return buffer.subarray(0, buffer.writeInt8(Number(value)));
    case "u8":
    case "bool":
      return buffer.subarray(0, buffer.writeUInt8(Number(value)));
  }
}
