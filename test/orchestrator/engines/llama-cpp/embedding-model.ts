import { readFile, writeFile } from "node:fs/promises";
import { writeTinyGguf } from "../../../support/tiny-gguf.ts";

/**
 * Writes a tiny embedding model, whose vectors are the means of those of the characters. The tiny chat model gives all
 * characters the same vector, so the first rows of its embedding matrix (control tokens, bytes, letters) are overwritten.
 */
export async function writeEmbeddingModel(file: string, contextLength = 4_096): Promise<void> {
  await writeTinyGguf(file, { contextLength, quantization: "F32", metadata: [["llama.pooling_type", "u32", 1]] });
  const bytes = await readFile(file);
  const columns = 64;
  // The matrix is the first tensor; its first row consists of ones.
  const ones = Buffer.from(new Float32Array(columns).fill(1).buffer);
  const start = bytes.indexOf(ones);
  if (start < 0) throw new Error("the tiny model's embedding matrix was not found");
  const rows = 5 + 256 + 95;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1)
      bytes.writeFloatLE(Math.sin((row + 1) * (column + 1) * 0.7), start + (row * columns + column) * 4);
  }
  await writeFile(file, bytes);
}
