import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DamagedGguf, type readHeader } from "../../../../src/orchestrator/engines/gguf/read-header.ts";
import { tensorTypes } from "../../../../src/orchestrator/engines/gguf/header.ts";
import {
  type GgufToWrite,
  type MetadataEntry,
  type ValueType,
  encodeGguf,
  tensorBytes,
  writeGguf,
} from "../../../support/gguf-writer.ts";
import { readWhole } from "../../../support/read-whole-gguf.ts";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";

type ByteSource = Parameters<typeof readHeader>[0];

/** A file in memory whose size includes bytes after `header` that don't exist. */
const source = (header: Buffer, sizeBytes = header.length): ByteSource => ({
  sizeBytes,
  read: (position, length) => header.subarray(position, position + length),
});

/** Collects all that the parser reports. */
function read(header: Buffer, sizeBytes?: number) {
  return readWhole(source(header, sizeBytes));
}

function readWritten(file: GgufToWrite) {
  const { header, fileBytes } = encodeGguf(file);
  return read(header, fileBytes);
}

const llama: MetadataEntry = ["general.architecture", "string", "llama"];

describe("a valid header", () => {
  test("may have every value type, arrays, and both kinds of padding", () => {
    const header = readWritten({
      alignment: 64,
      metadata: [
        llama,
        ["u8", "u8", 255],
        ["i8", "i8", -128],
        ["u16", "u16", 65_535],
        ["i16", "i16", -32_768],
        ["u32", "u32", 4_294_967_295],
        ["i32", "i32", -2_147_483_648],
        ["f32", "f32", 0.5],
        ["f64", "f64", 0.1],
        ["bool", "bool", true],
        ["u64", "u64", 2n ** 53n - 1n],
        ["i64", "i64", -5n],
        ["strings", "string", ["a", "ü", ""]],
        ["numbers", "i32", [1, -2]],
        ["empty", "f32", []],
      ],
      tensors: [
        { name: "a", type: "F32", shape: [3] },
        { name: "b", type: "Q4_K", shape: [256, 2] },
      ],
    });
    expect(header).toEqual({
      architecture: "llama",
      metadata: {
        "general.architecture": "llama",
        "general.alignment": 64,
        u8: 255,
        i8: -128,
        u16: 65_535,
        i16: -32_768,
        u32: 4_294_967_295,
        i32: -2_147_483_648,
        f32: 0.5,
        f64: 0.1,
        bool: true,
        u64: Number.MAX_SAFE_INTEGER,
        i64: -5,
        strings: ["a", "ü", ""],
        numbers: [1, -2],
        empty: [],
      },
      tensors: [
        { name: "a", type: "F32", shape: [3] },
        { name: "b", type: "Q4_K", shape: [256, 2] },
      ],
      weightsBytes: 12 + 288,
      fileBytes: header.fileBytes,
    });
  });

  test("has numbers that JSON can't represent as text", () => {
    const { metadata } = readWritten({
      metadata: [llama, ["big", "u64", 2n ** 64n - 1n], ["nan", "f32", NaN], ["infinite", "f64", -Infinity]],
      tensors: [],
    });
    expect(metadata).toMatchObject({ big: "18446744073709551615", nan: "NaN", infinite: "-Infinity" });
  });

  test("loses arrays of more than 1,024 items, but keeps the length of the vocabulary", () => {
    const tokens = Array.from({ length: 40_000 }, (_, index) => `token ${index}`);
    const header = readWritten({
      metadata: [
        llama,
        ["tokenizer.ggml.tokens", "string", tokens],
        ["tokenizer.ggml.scores", "f32", tokens.map((_, index) => index)],
        ["kept", "i32", tokens.slice(0, 1_024).map((_, index) => index)],
        ["after", "string", "still in step"],
      ],
      tensors: [],
    });
    expect(Object.keys(header.metadata)).toEqual(["general.architecture", "kept", "after"]);
    expect(header.vocabularySize).toBe(40_000);
  });

  test("may belong to a file without padding after its last tensor", () => {
    const { header, fileBytes } = encodeGguf({ metadata: [llama], tensors: [{ name: "a", type: "F32", shape: [1] }] });
    expect(read(header, fileBytes - 28).weightsBytes).toBe(4);
    expect(() => read(header, fileBytes - 29)).toThrow("1 of");
  });

  test("may have keys with a meaning in JavaScript", () => {
    const { metadata } = readWritten({ metadata: [llama, ["__proto__", "string", "x"]], tensors: [] });
    expect(Object.getOwnPropertyDescriptor(metadata, "__proto__")?.value).toBe("x");
  });
});

describe("a damaged or foreign file is rejected with the reason", () => {
  const tensor = { name: "a", type: "F32", shape: [32] };
  const damaged = (change: (header: Buffer) => void, file: GgufToWrite = { metadata: [llama], tensors: [tensor] }) => {
    const { header, fileBytes } = encodeGguf(file);
    change(header);
    return () => read(header, fileBytes);
  };
  const at = (header: Buffer, text: string): number => header.indexOf(text) + text.length;

  test.each<[string, () => unknown, RegExp]>([
    ["empty", () => read(Buffer.alloc(0)), /but empty/],
    ["zeros", () => read(Buffer.alloc(2_000)), /only zeros/],
    ["safetensors", () => read(Buffer.from('\u0040\0\0\0\0\0\0\0{"a":1}')), /a safetensors file/],
    ["zip", () => read(Buffer.from("PK\u0003\u0004....")), /a zip archive/],
    ["gzip", () => read(Buffer.from([0x1f, 0x8b, 8, 0])), /gzip/],
    ["GGML before GGUF", () => read(Buffer.from("tjgg\u0003\0\0\0")), /GGML's older format/],
    ["HTML", () => read(Buffer.from("\n<html>")), /an HTML page/],
    ["XML", () => read(Buffer.from("<?xml version='1.0'?>")), /an XML document/],
    ["JSON", () => read(Buffer.from('{"error": "no"}')), /JSON text/],
    ["LFS pointer", () => read(Buffer.from("version https://git-lfs.github.com/spec/v1\n")), /Git LFS pointer/],
    ["text", () => read(Buffer.from("hello")), /a text file/],
    ["other bytes", () => read(Buffer.from([0xde, 0xad, 0xbe, 0xef])), /starts with deadbeef/],
    ["the magic alone", () => read(Buffer.from("GGUF")), /needs 8 bytes, the file has 4/],
    ["format 1", damaged((header) => header.writeUInt32LE(1, 4)), /GGUF format 1/],
    ["big endian", damaged((header) => header.writeUInt32BE(3, 4)), /big-endian/],
    ["too many tensors", damaged((header) => header.writeUInt32LE(1e9, 8)), /the number of tensors is 1000000000/],
    ["too many keys", damaged((header) => header.writeUInt32LE(1e9, 16)), /the number of keys is 1000000000/],
    [
      "a key's type",
      damaged((header) => header.writeUInt32LE(99, at(header, "general.architecture"))),
      /unknown type 99/,
    ],
    [
      "tensor type",
      damaged((header) => header.writeUInt32LE(4, at(header, "\u0001\0\0\0\0\0\0\0a") + 12)),
      /unknown type/,
    ],
    ["dimensions", damaged((header) => header.writeUInt32LE(5, at(header, "\u0001\0\0\0\0\0\0\0a"))), /5 dimensions/],
    [
      "a duplicate key",
      damaged(() => undefined, { metadata: [llama, llama], tensors: [] }),
      /key 1 is empty or a duplicate/,
    ],
    [
      "a duplicate tensor",
      damaged(() => undefined, { metadata: [llama], tensors: [tensor, tensor] }),
      /duplicate tensor a$/,
    ],
    ["no architecture", damaged(() => undefined, { metadata: [], tensors: [] }), /has no architecture/],
    [
      "alignment",
      damaged(() => undefined, { metadata: [llama, ["general.alignment", "u32", 33]], tensors: [] }),
      /alignment is 33/,
    ],
    [
      "a row that is not a multiple of the block size",
      damaged((header) => header.writeUInt32LE(33, at(header, "\u0001\0\0\0\0\0\0\0a") + 4), {
        metadata: [llama],
        tensors: [{ name: "a", type: "Q8_0", shape: [32] }],
      }),
      /a can't be 33 of Q8_0/,
    ],
    [
      "an offset",
      damaged((header) => header.writeUInt32LE(64, header.lastIndexOf("a") + 1 + 4 + 8 + 4)),
      /a has offset 64 instead of 0/,
    ],
  ])("%s", (_, act, message) => {
    expect(act).toThrow(DamagedGguf);
    expect(act).toThrow(message);
  });

  test("an array nested in an array", () => {
    const act = damaged((header) => header.writeUInt32LE(9, at(header, "nested") + 4), {
      metadata: [llama, ["nested", "u32", [1]]],
      tensors: [],
    });
    expect(act).toThrow(/an array of unknown type 9/);
  });
});

describe("for all inputs", () => {
  const scalars: Readonly<Record<string, fc.Arbitrary<string | number | bigint | boolean>>> = {
    u8: fc.integer({ min: 0, max: 255 }),
    i16: fc.integer({ min: -32_768, max: 32_767 }),
    u32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    i64: fc.bigInt({ min: -(2n ** 53n) + 1n, max: 2n ** 53n - 1n }),
    f64: fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
    bool: fc.boolean(),
    string: fc.string({ unit: "grapheme" }),
  };
  const entry = fc.constantFrom(...Object.keys(scalars)).chain((type) => {
    const value = scalars[type] ?? fc.constant(0);
    return fc.tuple(
      fc.string({ minLength: 1 }).map((key) => `key.${key}`),
      fc.constant(type as ValueType),
      fc.oneof(value, fc.array(value, { maxLength: 5 })),
    );
  });
  const tensor = fc.tuple(
    fc.constantFrom(...[...tensorTypes.values()].map((type) => type.name)),
    fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
  );
  const file = fc
    .record({
      entries: fc.uniqueArray(entry, { selector: ([key]) => key, maxLength: 8 }),
      tensors: fc.array(tensor, { maxLength: 6 }),
      alignment: fc.constantFrom(8, 32, 64, 4_096),
    })
    .map(({ entries, tensors, alignment }): GgufToWrite => ({
      alignment,
      metadata: [llama, ...entries],
      tensors: tensors.map(([type, [rows = 1, ...rest]], index) => ({
        name: `tensor.${index}`,
        type,
        shape: [rows * 256, ...rest],
      })),
    }));
  const plain = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(plain)
      : typeof value === "bigint"
        ? Number(value)
        : Object.is(value, -0)
          ? 0
          : value;

  test("the header read equals the header written", () => {
    fc.assert(
      fc.property(file, (written) => {
        const header = readWritten(written);
        for (const [key, , value] of written.metadata) expect(plain(header.metadata[key])).toEqual(plain(value));
        expect(header.tensors).toEqual(written.tensors);
        expect(header.weightsBytes).toBe(written.tensors.reduce((sum, each) => sum + tensorBytes(each), 0));
      }),
    );
  });

  test("a truncated file is rejected, at every length", () => {
    fc.assert(
      fc.property(file, fc.nat(), (written, cut) => {
        const { header, fileBytes } = encodeGguf({
          ...written,
          tensors: [...written.tensors, { name: "last", type: "F32", shape: [1024] }],
        });
        const sizeBytes = cut % fileBytes;
        expect(() => read(header.subarray(0, sizeBytes), sizeBytes)).toThrow(DamagedGguf);
      }),
    );
  });

  test("damaged bytes yield a header or DamagedGguf, never another error", () => {
    fc.assert(
      fc.property(
        file,
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
        (written, flips) => {
          const { header, fileBytes } = encodeGguf(written);
          for (const [position, value] of flips) header.writeUInt8(value, position % header.length);
          headerOrDamage(() => read(header, fileBytes));
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test("random bytes after the magic number yield DamagedGguf", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        headerOrDamage(() => read(Buffer.concat([Buffer.from("GGUF\u0003\0\0\0"), bytes])));
      }),
    );
  });

  function headerOrDamage(act: () => ReturnType<typeof read>): void {
    let error: unknown;
    try {
      expect(act().tensors).toBeInstanceOf(Array);
    } catch (caught) {
      error = caught;
    }
    if (error !== undefined) expect(error).toBeInstanceOf(DamagedGguf);
  }
});

describe("compared with another reader (@huggingface/gguf)", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ollm-gguf-"));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  test("keys and tensors of a tiny model are equal", async () => {
    const path = join(folder, "tiny.gguf");
    await writeTinyGguf(path, { quantization: "Q4_0" });
    const ours = read(await readFile(path));
    const theirs = await gguf(path, { allowLocalFile: true });
    const { version, tensor_count: tensorCount, kv_count: keyCount, ...metadata } = theirs.metadata;
    expect([version, Number(tensorCount), Number(keyCount)]).toEqual([
      3,
      ours.tensors.length,
      Object.keys(ours.metadata).length,
    ]);
    expect(ours.metadata).toEqual(metadata);
    expect(ours.tensors.map(({ name, shape }) => ({ name, shape }))).toEqual(
      theirs.tensorInfos.map(({ name, shape }) => ({ name, shape: shape.map(Number) })),
    );
  });

  test("the data of a handmade file are at the offsets in its header", async () => {
    const path = join(folder, "data.gguf");
    const data = Buffer.from(new Float32Array([1, 2]).buffer);
    const { dataOffsets } = await writeGguf(path, {
      metadata: [llama],
      tensors: [
        { name: "hole", type: "F32", shape: [5] },
        { name: "data", type: "F32", shape: [2], data },
      ],
    });
    const file = await readFile(path);
    expect(file.subarray(dataOffsets[1], (dataOffsets[1] ?? 0) + 8)).toEqual(data);
    expect(read(file).fileBytes).toBe(file.length);
    await writeFile(path, file.subarray(0, file.length - 40));
    expect(() => read(file.subarray(0, file.length - 40))).toThrow(/16 of \d+ bytes are missing/);
  });
});
