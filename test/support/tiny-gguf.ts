import { writeFile } from "node:fs/promises";
import { type MetadataEntry, type TensorToWrite, flipBit, truncateBy, writeGguf } from "./gguf-writer.ts";

/** Default answer of a tiny model. */
export const tinySentence = "This practice model recites one sentence, and nothing else.";

export interface TinyGguf {
  /** Its answer to every prompt, at any temperature. Default: `tinySentence`. */
  readonly says?: string;
  readonly quantization?: "F32" | "Q8_0" | "Q4_0";
  /** Written unchanged: llama.cpp rejects a file with an unknown architecture. Default `llama`. */
  readonly architecture?: string;
  /** Context window in the metadata. Default 2048. */
  readonly contextLength?: number;
  /** Jinja. Default: ChatML. An explicit `undefined` omits it. */
  readonly chatTemplate?: string | undefined;
  /** Repeats its answer instead of ending. The default answer is then `longStory`. */
  readonly isEndless?: boolean;
  /** Babbles: what it says depends on every token before, so an answer shows what its cache held. Weights of a fixed seed. */
  readonly isBabbling?: boolean;
  readonly layerCount?: number;
  /** Additional or replaced metadata. */
  readonly metadata?: readonly MetadataEntry[];
  /** Additional tensors, with or without data. */
  readonly tensors?: readonly TensorToWrite[];
  /** `truncated` lacks its last tensors' data; `bit-flipped` has a damaged number of tensors. */
  readonly corrupt?: "empty" | "truncated" | "bit-flipped";
}

const chatMlTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** For `chatTemplate`: lists tools, and has calls and results as Qwen's templates do. */
export const toolsTemplate =
  "{% if tools %}{{ '<|im_start|>system\\n' }}{% for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}" +
  "{% for message in messages %}{% if message.role == 'tool' %}" +
  "{{ '<|im_start|>user\\n<tool_response>\\n' }}{{ message.content }}{{ '\\n</tool_response><|im_end|>\\n' }}" +
  "{% else %}{{ '<|im_start|>' + message.role }}{% if message.content or not message.tool_calls %}{{ '\\n' + message.content }}{% endif %}" +
  '{% if message.tool_calls %}{% for call in message.tool_calls %}{{ \'\\n<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' }}' +
  "{{ call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const tokenKind = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;
const fileTypes = { F32: 0, Q4_0: 2, Q8_0: 7 } as const;
const endToken = "<|im_end|>";

/** 2,400 characters, too long to be detected as a loop when repeated. */
const longStory = Array.from({ length: 60 }, (_, index) => {
  const chapter = String.fromCharCode(97 + Math.floor(index / 26), 97 + (index % 26));
  return `in-chapter-${chapter}-the-fox-and-the-dog-ran-on`;
}).join(" ");

/**
 * Writes a valid model of about 90 KB (Q4_0) to 540 KB (F32) that answers every prompt with one sentence.
 *
 * How: attention and feed-forward contribute nothing (zero matrices), so the next token depends on the last one alone.
 * The sentence is cut into pieces that occur once; each has its own code (rows of a Hadamard matrix, which are
 * orthogonal), is embedded as that code, and the output row of its successor is the same code. Everything that is
 * not part of the sentence is embedded as code 0, whose successor is the first piece.
 */
export async function writeTinyGguf(path: string, model: TinyGguf = {}): Promise<void> {
  const {
    says = model.isEndless === true ? longStory : tinySentence,
    quantization = "F32",
    architecture = "llama",
    contextLength = 2048,
  } = model;
  const { layerCount = 2, isEndless = false, isBabbling = false } = model;
  const chatTemplate = "chatTemplate" in model ? model.chatTemplate : chatMlTemplate;
  const pieces = uniquePieces(says, 400);
  const vocabulary = vocabularyOf(pieces);
  const dimension = Math.max(64, 2 ** Math.ceil(Math.log2(pieces.length + 1)));
  const firstPiece = vocabulary.length - pieces.length;
  const endOfTurn = vocabulary.findIndex((token) => token.text === endToken);

  const random = randomWeights(dimension);
  const codeOf = (code: number): number[] => Array.from({ length: dimension }, (_, column) => hadamard(code, column));
  const embeddings = vocabulary.map((_, token) => codeOf(token < firstPiece ? 0 : token - firstPiece + 1));
  const outputs = vocabulary.map((_, token) => {
    if (token >= firstPiece) {
      const code = codeOf(token - firstPiece);
      if (!isEndless || token !== firstPiece) return code;
      // The first piece follows both the prompt and the last piece.
      return code.map((value, column) => value + hadamard(pieces.length, column));
    }
    return token === endOfTurn && !isEndless ? codeOf(pieces.length) : codeOf(0).map(() => 0);
  });

  const matrix = (name: string, columns: number, rows: readonly (readonly number[])[] | number): TensorToWrite => ({
    name,
    type: quantization,
    shape: [columns, typeof rows === "number" ? rows : rows.length],
    data:
      typeof rows === "number"
        ? quantize(isBabbling ? random(columns * rows) : constant(columns * rows, 0), quantization)
        : quantize(isBabbling ? random(rows.flat().length) : rows.flat(), quantization),
  });
  const norm = (name: string): TensorToWrite => ({
    name,
    type: "F32",
    shape: [dimension],
    data: quantize(constant(dimension, 1), "F32"),
  });
  const layers = Array.from({ length: layerCount }, (_, layer) => [
    norm(`blk.${layer}.attn_norm.weight`),
    ...["attn_q", "attn_k", "attn_v", "attn_output"].map((name) =>
      matrix(`blk.${layer}.${name}.weight`, dimension, dimension),
    ),
    norm(`blk.${layer}.ffn_norm.weight`),
    ...["ffn_gate", "ffn_up", "ffn_down"].map((name) => matrix(`blk.${layer}.${name}.weight`, dimension, dimension)),
  ]);
  const metadata: MetadataEntry[] = [
    ["general.architecture", "string", architecture],
    ["general.name", "string", "Practice model"],
    ["general.file_type", "u32", fileTypes[quantization]],
    [`${architecture}.context_length`, "u32", contextLength],
    [`${architecture}.embedding_length`, "u32", dimension],
    [`${architecture}.block_count`, "u32", layerCount],
    [`${architecture}.feed_forward_length`, "u32", dimension],
    [`${architecture}.attention.head_count`, "u32", 4],
    [`${architecture}.attention.head_count_kv`, "u32", 4],
    [`${architecture}.attention.layer_norm_rms_epsilon`, "f32", 1e-5],
    [`${architecture}.rope.dimension_count`, "u32", dimension / 4],
    [`${architecture}.vocab_size`, "u32", vocabulary.length],
    ["tokenizer.ggml.model", "string", "llama"],
    ["tokenizer.ggml.tokens", "string", vocabulary.map((token) => token.text)],
    ["tokenizer.ggml.scores", "f32", vocabulary.map((_, index) => -index)],
    ["tokenizer.ggml.token_type", "i32", vocabulary.map((token) => token.kind)],
    ["tokenizer.ggml.unknown_token_id", "u32", 0],
    ["tokenizer.ggml.bos_token_id", "u32", 1],
    ["tokenizer.ggml.eos_token_id", "u32", endOfTurn],
    ["tokenizer.ggml.eot_token_id", "u32", endOfTurn],
    ["tokenizer.ggml.add_bos_token", "bool", false],
    ["tokenizer.ggml.add_space_prefix", "bool", false],
  ];
  if (chatTemplate !== undefined) metadata.push(["tokenizer.chat_template", "string", chatTemplate]);
  const replaced = new Set((model.metadata ?? []).map(([key]) => key));
  await writeGguf(path, {
    metadata: [...metadata.filter(([key]) => !replaced.has(key)), ...(model.metadata ?? [])],
    tensors: [
      matrix("token_embd.weight", dimension, embeddings),
      norm("output_norm.weight"),
      matrix("output.weight", dimension, outputs),
      ...layers.flat(),
      ...(model.tensors ?? []),
    ],
  });
  if (model.corrupt === "empty") await writeFile(path, "");
  if (model.corrupt === "truncated") await truncateBy(path, 4_096);
  if (model.corrupt === "bit-flipped") await flipBit(path, 8 * 8 + 63);
}

interface Token {
  readonly text: string;
  readonly kind: number;
}

/** SPM: control tokens, all bytes, printable ASCII (every prefix of a word must exist), and the sentence's pieces last. */
function vocabularyOf(pieces: readonly string[]): readonly Token[] {
  const control = ["<s>", "</s>", "<|im_start|>", endToken];
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const printable = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index));
  return [
    { text: "<unk>", kind: tokenKind.unknown },
    ...control.map((text) => ({ text, kind: tokenKind.control })),
    ...bytes.map((text) => ({ text, kind: tokenKind.byte })),
    ...["▁", ...printable].map((text) => ({ text, kind: tokenKind.normal })),
    ...pieces.map((piece) => ({ text: piece.replaceAll(" ", "▁"), kind: tokenKind.normal })),
  ];
}

/**
 * Cuts a text into at most `limit` pieces of whole words, no two alike and none of a single character (those are in
 * the vocabulary already).
 */
export function uniquePieces(text: string, limit: number): readonly string[] {
  const words = text.match(/\s*\S+\s*$|\s*\S+/g) ?? [];
  const wordsPerPiece = Math.ceil(words.length / limit);
  const pieces: string[] = [];
  let piece = "";
  let taken = 0;
  for (const word of words) {
    piece += word;
    taken += 1;
    if (taken < wordsPerPiece || piece.length < 2 || pieces.includes(piece)) continue;
    pieces.push(piece);
    piece = "";
    taken = 0;
  }
  // The rest repeats an earlier piece: it is merged with its neighbors until it is unique.
  while (piece !== "" && (pieces.includes(piece) || piece.length < 2) && pieces.length > 0)
    piece = (pieces.pop() ?? "") + piece;
  if (piece.length === 1) throw new Error("the answer of a tiny model needs at least two characters");
  if (piece !== "") pieces.push(piece);
  if (pieces.length === 0) throw new Error("the answer of a tiny model must not be empty");
  return pieces;
}

/** Sylvester's Hadamard matrix: rows of ±1, orthogonal to each other. */
function hadamard(row: number, column: number): number {
  let parity = 0;
  for (let bits = row & column; bits !== 0; bits &= bits - 1) parity ^= 1;
  return parity === 0 ? 1 : -1;
}

/** Quantizes like ggml's reference routines (`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`). */
function quantize(values: readonly number[], type: "F32" | "Q8_0" | "Q4_0"): Buffer {
  if (type === "F32") {
    const buffer = Buffer.alloc(values.length * 4);
    values.forEach((value, index) => buffer.writeFloatLE(value, index * 4));
    return buffer;
  }
  const blockBytes = type === "Q8_0" ? 34 : 18;
  const buffer = Buffer.alloc((values.length / 32) * blockBytes);
  for (let block = 0; block * 32 < values.length; block++) {
    const numbers = values.slice(block * 32, block * 32 + 32);
    const extreme = numbers.reduce((max, value) => (Math.abs(value) > Math.abs(max) ? value : max), 0);
    const scale = type === "Q8_0" ? Math.abs(extreme) / 127 : extreme / -8;
    const at = block * blockBytes;
    buffer.writeUInt16LE(halfBits(scale), at);
    numbers.forEach((value, index) => {
      const scaled = scale === 0 ? 0 : value / scale;
      if (type === "Q8_0") {
        buffer.writeInt8(Math.round(scaled), at + 2 + index);
      } else {
        const nibble = Math.min(15, Math.floor(scaled + 8.5));
        const position = at + 2 + (index % 16);
        buffer.writeUInt8(buffer.readUInt8(position) | (index < 16 ? nibble : nibble << 4), position);
      }
    });
  }
  return buffer;
}

/** Bits of a number as IEEE 754 half precision (normal range and zero only, rounded down: scales need no more). */
function halfBits(value: number): number {
  if (value === 0) return 0;
  const sign = value < 0 ? 0x8000 : 0;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  const fraction = Math.floor((Math.abs(value) / 2 ** exponent - 1) * 1024);
  return sign | ((exponent + 15) << 10) | fraction;
}

/** Uniform, with the variance that keeps a product of `dimension` columns at the size of its input (Marsaglia's xorshift). */
function randomWeights(dimension: number): (length: number) => number[] {
  let state = 2_463_534_242;
  const next = (): number => {
    for (const shift of [13, -17, 5]) state = (state ^ (shift > 0 ? state << shift : state >>> -shift)) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return (length) => Array.from({ length }, () => next() * Math.sqrt(12 / dimension));
}

function constant(length: number, value: number): number[] {
  return Array.from({ length }, () => value);
}
