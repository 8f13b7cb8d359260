import { describe, expect, test } from "vitest";
import type { GgufHeader } from "../../../../src/orchestrator/engines/gguf/header.ts";
import { readHeader } from "../../../../src/orchestrator/engines/gguf/read-header.ts";
import { type GgufToWrite, type MetadataEntry, encodeGguf } from "../../../support/gguf-writer.ts";

type ByteSource = Parameters<typeof readHeader>[0];

/** A file in memory whose size includes bytes after `header` that don't exist. */
const source = (header: Buffer, sizeBytes = header.length): ByteSource => ({
  sizeBytes,
  read: (position, length) => header.subarray(position, position + length),
});

const summarized = (file: GgufToWrite): GgufHeader => {
  const { header, fileBytes } = encodeGguf(file);
  return readHeader(source(header, fileBytes));
};

const llama: MetadataEntry = ["general.architecture", "string", "llama"];

describe("the kept part of a header", () => {
  const entries = (count: number, entry: (index: number) => MetadataEntry): readonly MetadataEntry[] =>
    Array.from({ length: count }, (_, index) => entry(index));
  const kept = (file: Partial<GgufToWrite>): number =>
    JSON.stringify(summarized({ metadata: [llama, ...(file.metadata ?? [])], tensors: file.tensors ?? [] })).length;

  test("has the used keys, the tensors that rules check, and the capabilities of the template", () => {
    expect(
      summarized({
        metadata: [
          ["llama.block_count", "u32", 2],
          ["llama.attention.head_count_kv", "u32", [4, 2]],
          ["qwen2.block_count", "u32", 3],
          ["llama.unheard_of", "u32", 4],
          ["general.name", "string", "Tiny"],
          ["tokenizer.ggml.tokens", "string", ["a", "b"]],
          ["tokenizer.chat_template", "string", "{% if tools %}<think>{{ x }}</think>"],
          llama,
        ],
        tensors: [
          { name: "token_embd.weight", type: "F32", shape: [4, 2] },
          { name: "v.blk.0.weight", type: "F16", shape: [3] },
          { name: "v.blk.1.weight", type: "F16", shape: [5] },
          { name: "other.weight", type: "F32", shape: [1] },
        ],
      }),
    ).toEqual({
      architecture: "llama",
      metadata: { "general.architecture": "llama", "llama.block_count": 2, "llama.attention.head_count_kv": [4, 2] },
      tensors: {
        embedding: { name: "token_embd.weight", type: "F32", shape: [4, 2] },
        vision: { name: "v.blk.0.weight", type: "F16", shape: [3] },
      },
      weightsByType: { F32: 9, F16: 8 },
      template: { hasTools: true, hasThinking: true },
      weightsBytes: 32 + 6 + 10 + 4,
      fileBytes: expect.any(Number) as number,
      vocabularySize: 2,
    });
  });

  test.each<[string, Partial<GgufToWrite>]>([
    ["100,000 keys", { metadata: entries(100_000, (index) => [`key.${index}`, "u32", index]) }],
    ["10 MB of texts", { metadata: entries(10, (index) => [`key.${index}`, "string", "x".repeat(1_000_000)]) }],
    ["a template of 1 MB", { metadata: [["tokenizer.chat_template", "string", "x".repeat(1_000_000)]] }],
    ["long texts under used keys", { metadata: [["llama.block_count", "string", "x".repeat(60_000)]] }],
    ["used keys of 1,000 architectures", { metadata: entries(1_000, (index) => [`a${index}.block_count`, "u32", 1]) }],
    [
      "long lists under used keys",
      {
        metadata: [
          "block_count",
          "attention.head_count",
          "attention.head_count_kv",
          "feed_forward_length",
          "vocab_size",
        ].flatMap((key): MetadataEntry[] => [[`llama.${key}`, "f64", Array.from({ length: 1_024 }, () => Math.PI)]]),
      },
    ],
    [
      "20,000 tensors",
      { tensors: Array.from({ length: 20_000 }, (_, index) => ({ name: `v.${index}`, type: "F32", shape: [1] })) },
    ],
  ])("is small for a file with %s", (_, file) => {
    expect(kept(file)).toBeLessThan(70_000);
  });

  test.each<[string, MetadataEntry]>([
    ["a number", ["llama.embedding_length", "u64", 2n ** 63n]],
    ["an item of an array", ["llama.attention.head_count", "u64", [4n, 2n ** 63n]]],
  ])("rejects an integer beyond 2^53 as %s of the architecture, which engines can't compute with", (_what, entry) => {
    expect(() => summarized({ metadata: [llama, entry], tensors: [] })).toThrow(
      `it is damaged: ${entry[0]} is 9223372036854775808`,
    );
  });

  test("names of any length in a file are shortened in messages", () => {
    const long = "k".repeat(60_000);
    const { header, fileBytes } = encodeGguf({ metadata: [llama, [long, "u32", 1]], tensors: [] });
    header.writeUInt32LE(99, header.indexOf(long) + long.length);
    const act = (): unknown => readHeader(source(header, fileBytes));
    expect(act).toThrow(/^it is damaged: key k{100}… has unknown type 99$/);
    expect(() => summarized({ metadata: [["general.architecture", "string", long]], tensors: [] })).toThrow(
      "the name of its architecture has 60000 characters",
    );
  });
});
