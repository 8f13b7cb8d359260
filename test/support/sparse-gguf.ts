import { type TensorToWrite, writeGguf } from "./gguf-writer.ts";
import { spmVocabulary } from "./spm-vocabulary.ts";

/** The values that determine a model's memory. */
export interface ModelShape {
  readonly name: string;
  readonly vocabularySize: number;
  readonly embeddingLength: number;
  readonly layerCount: number;
  readonly feedForwardLength: number;
  readonly headCount: number;
  readonly headCountKv: number;
  readonly contextLength: number;
}

/** Published shapes (the models' config.json). */
export const shapes = {
  llama8b: {
    name: "Llama 3.1 8B",
    vocabularySize: 128_256,
    embeddingLength: 4_096,
    layerCount: 32,
    feedForwardLength: 14_336,
    headCount: 32,
    headCountKv: 8,
    contextLength: 131_072,
  },
  llama70b: {
    name: "Llama 3.1 70B",
    vocabularySize: 128_256,
    embeddingLength: 8_192,
    layerCount: 80,
    feedForwardLength: 28_672,
    headCount: 64,
    headCountKv: 8,
    contextLength: 131_072,
  },
} satisfies Record<string, ModelShape>;

/**
 * Writes a header of real size (as Q4_K_M: most matrices Q4_K, the output Q6_K) into a file without contents, for
 * estimates and fit tests, not for loading. 4.7 GB for 8B and 40 GB for 70B, of which only the header takes disk space
 * (4 MB), except on Windows, where these must not be written.
 */
export async function writeSparseGguf(path: string, shape: ModelShape): Promise<void> {
  const { embeddingLength: width, feedForwardLength, headCountKv, headCount, vocabularySize } = shape;
  const keyValueWidth = (width / headCount) * headCountKv;
  const matrix = (name: string, columns: number, rows: number, type = "Q4_K"): TensorToWrite => ({
    name: `${name}.weight`,
    type,
    shape: [columns, rows],
  });
  const norm = (name: string): TensorToWrite => ({ name: `${name}.weight`, type: "F32", shape: [width] });
  const layer = (index: number): TensorToWrite[] => [
    norm(`blk.${index}.attn_norm`),
    matrix(`blk.${index}.attn_q`, width, width),
    matrix(`blk.${index}.attn_k`, width, keyValueWidth),
    matrix(`blk.${index}.attn_v`, width, keyValueWidth),
    matrix(`blk.${index}.attn_output`, width, width),
    norm(`blk.${index}.ffn_norm`),
    matrix(`blk.${index}.ffn_gate`, width, feedForwardLength),
    matrix(`blk.${index}.ffn_up`, width, feedForwardLength),
    matrix(`blk.${index}.ffn_down`, feedForwardLength, width),
  ];
  await writeGguf(path, {
    metadata: [
      ["general.architecture", "string", "llama"],
      ["general.name", "string", shape.name],
      ["general.file_type", "u32", 15],
      ["llama.context_length", "u32", shape.contextLength],
      ["llama.embedding_length", "u32", width],
      ["llama.block_count", "u32", shape.layerCount],
      ["llama.feed_forward_length", "u32", feedForwardLength],
      ["llama.attention.head_count", "u32", headCount],
      ["llama.attention.head_count_kv", "u32", headCountKv],
      ["llama.attention.layer_norm_rms_epsilon", "f32", 1e-5],
      ["llama.rope.dimension_count", "u32", width / headCount],
      ["llama.rope.freq_base", "f32", 500_000],
      ["llama.vocab_size", "u32", vocabularySize],
      ...spmVocabulary(vocabularySize),
    ],
    tensors: [
      matrix("token_embd", width, vocabularySize),
      norm("output_norm"),
      matrix("output", width, vocabularySize, "Q6_K"),
      ...Array.from({ length: shape.layerCount }, (_, index) => layer(index)).flat(),
    ],
  });
}
