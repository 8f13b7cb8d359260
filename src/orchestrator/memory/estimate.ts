import type { MemoryEstimate } from "../api/types.ts";

/** Allowance for cache and compute buffers, which don't depend on the size of the file. */
const unknownBytes = 1024 ** 3;

/**
 * Predicts from the file's size alone, for models without metadata: size × 1.20.
 *
 * The weights take as much as the file; the 20 % are for cache, compute buffers, tokenizer and process at an ordinary
 * context (a 7B model in Q4 with 4,096 tokens: 4.7 GB on disk, 5.5 GB loaded). These depend on the context and not on
 * the file, so the margin is wide, and widest for small files: 98 MB of SmolLM2 occupy 211 MB. `bufferBytes` is
 * `memory.bufferBytes`, which absorbs such errors.
 */
export function estimateBySize(sizeBytes: number, bufferBytes: number): MemoryEstimate {
  const predictedBytes = sizeRuleBytes(sizeBytes);
  const relative = predictedBytes === 0 ? 1 : 0.2 + Math.max(bufferBytes, unknownBytes) / predictedBytes;
  return {
    method: "size_rule",
    predictedBytes,
    margin: Math.min(1, Math.round(relative * 100) / 100),
    processBytes: 0,
  };
}

/** size × 1.20 in whole bytes (× 6 ÷ 5, which is exact for integers). */
export function sizeRuleBytes(sizeBytes: number): number {
  return Math.ceil((sizeBytes * 6) / 5);
}
