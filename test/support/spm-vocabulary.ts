import type { MetadataEntry } from "./gguf-writer.ts";

/** Returns a valid vocabulary of the given size: special tokens, all bytes, and numbered words. */
export function spmVocabulary(size: number): readonly MetadataEntry[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const words = Array.from({ length: size - 259 }, (_, index) => `▁word${index}`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...words];
  return [
    ["tokenizer.ggml.model", "string", "llama"],
    ["tokenizer.ggml.tokens", "string", tokens],
    ["tokenizer.ggml.scores", "f32", tokens.map((_, index) => -index)],
    [
      "tokenizer.ggml.token_type",
      "i32",
      tokens.map((_, index) => (index === 0 ? 2 : index < 3 ? 3 : index < 259 ? 6 : 1)),
    ],
    ["tokenizer.ggml.bos_token_id", "u32", 1],
    ["tokenizer.ggml.eos_token_id", "u32", 2],
  ];
}
