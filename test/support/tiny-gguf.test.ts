import fc from "fast-check";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readWhole } from "./read-whole-gguf.ts";
import { shapes, writeSparseGguf } from "./sparse-gguf.ts";
import type { TinyGguf } from "./tiny-gguf.ts";
import { uniquePieces, writeTinyGguf } from "./tiny-gguf.ts";

let folder = "";
let path = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-tiny-"));
  path = join(folder, "tiny.gguf");
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function written(model: TinyGguf) {
  await writeTinyGguf(path, model);
  const file = await readFile(path);
  const header = readWhole({ sizeBytes: file.length, read: (at, length) => file.subarray(at, at + length) });
  return { file, header };
}

test("a sentence is split into unique pieces whose concatenation is the sentence", () => {
  const word = fc.constantFrom("a", "the", "cat", "no,", "日本", "\n", "  ");
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 20 }), (words, limit) => {
      const text = words.join(" ");
      fc.pre(text.trim().length > 1);
      const pieces = uniquePieces(text, limit);
      expect(pieces.join("")).toBe(text);
      expect(new Set(pieces).size).toBe(pieces.length);
      expect(Math.min(...pieces.map((piece) => piece.length))).toBeGreaterThan(1);
      expect(pieces.length).toBeLessThanOrEqual(limit);
    }),
  );
});

test.each(["", " ", "x"])("%j is rejected as an answer", (says) => {
  expect(() => uniquePieces(says, 10)).toThrow(/a tiny model/);
});

/** Evaluates the matrices like greedy decoding; attention and feed-forward contribute nothing. */
test("greedy decoding yields the sentence and ends, after every prompt", async () => {
  const says = "the cat and the dog and the cat";
  const { file, header } = await written({ says });
  const tokens = header.metadata["tokenizer.ggml.tokens"] as string[];
  const width = Number(header.metadata["llama.embedding_length"]);
  const floats = (tensor: number): Float32Array => {
    const rows = new Float32Array(width * tokens.length);
    for (const [index] of rows.entries())
      rows[index] = file.readFloatLE(dataStart + tensor * rows.byteLength + index * 4);
    return rows;
  };
  // In the file: embeddings, the output norm (ones, `width` of them), output rows.
  const dataStart = file.length - header.weightsBytes;
  const embeddings = floats(0);
  const outputs = new Float32Array(tokens.length * width);
  for (const [index] of outputs.entries())
    outputs[index] = file.readFloatLE(dataStart + embeddings.byteLength + width * 4 + index * 4);
  const next = (token: number): number => {
    const logits = tokens.map((_, candidate) => {
      let logit = 0;
      for (let column = 0; column < width; column++)
        logit += (embeddings[token * width + column] ?? 0) * (outputs[candidate * width + column] ?? 0);
      return logit;
    });
    return logits.indexOf(Math.max(...logits));
  };
  for (const start of [tokens.indexOf("<0x0A>"), tokens.indexOf("z"), 0]) {
    const said: string[] = [];
    let token = next(start);
    while (tokens[token] !== "<|im_end|>" && said.length < 50) {
      said.push(tokens[token] ?? "");
      token = next(token);
    }
    expect(said.join("").replaceAll("▁", " ")).toBe(says);
  }
});

test("files are small in each quantization", async () => {
  for (const [quantization, kilobytes] of [
    ["Q4_0", 70],
    ["Q8_0", 122],
    ["F32", 428],
  ] as const) {
    const { file } = await written({ quantization });
    expect(Math.round(file.length / 1_000)).toBe(kilobytes);
  }
});

test("architecture, window, template and additional keys are as given", async () => {
  const { header } = await written({
    architecture: "gptoss",
    contextLength: 512,
    chatTemplate: undefined,
    metadata: [["gptoss.block_count", "u32", 7]],
    tensors: [{ name: "v.patch_embd.weight", type: "F32", shape: [4] }],
  });
  expect(header.architecture).toBe("gptoss");
  expect(header.metadata).toMatchObject({ "gptoss.context_length": 512, "gptoss.block_count": 7 });
  expect(header.metadata).not.toHaveProperty("tokenizer.chat_template");
  expect(header.tensors.at(-1)?.name).toBe("v.patch_embd.weight");
});

test.skipIf(process.platform === "win32")(
  "a sparse 8B has its real size and takes next to no disk (not on Windows, where a hole takes disk space)",
  async () => {
    await writeSparseGguf(path, shapes.llama8b);
    const { size, blocks } = await stat(path);
    expect(size / 1e9).toBeCloseTo(4.66, 2);
    expect(blocks * 512).toBeLessThan(20e6);
  },
);
