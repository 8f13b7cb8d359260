import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { model, withDaemon } from "../batch.ts";

/** How much each document suits a request. */
export type Ranker = (request: string) => Promise<readonly number[]> | readonly number[];

/** Runs `work` with a ranker by the cosine of vectors that our own daemon makes with the model of a folder. */
export async function byMeaning<Result>(
  folder: string,
  documents: readonly string[],
  work: (rank: Ranker) => Promise<Result>,
): Promise<Result> {
  const temporary = await mkdtemp(join(tmpdir(), "ollm-ranking-"));
  try {
    const file = join(temporary, "minilm.gguf");
    await writeFile(file, await asGguf(folder));
    return await withDaemon(file, 512, async (base) => {
      const vectors: (readonly number[])[] = [];
      for (let at = 0; at < documents.length; at += 8)
        vectors.push(...(await embedded(base, documents.slice(at, at + 8))));
      return await work(async (request) => {
        const [query = []] = await embedded(base, [request]);
        return vectors.map((vector) => vector.reduce((sum, value, at) => sum + value * (query[at] ?? 0), 0));
      });
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Vectors of length 1. A text is cut to what the model reads at most, about 200 words. */
async function embedded(base: string, texts: readonly string[]): Promise<readonly (readonly number[])[]> {
  const response = await fetch(`${base}/embeddings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, input: texts.map((text) => text.slice(0, 900)) }),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const { data } = (await response.json()) as { data: { embedding: number[] }[] };
  return data.map(({ embedding }) => {
    const length = Math.hypot(...embedding);
    return embedding.map((value) => value / length);
  });
}

/** Names of the tensors, as llama.cpp calls those of a BERT. */
const named: readonly (readonly [RegExp, string])[] = [
  [/^embeddings\.word_embeddings\./, "token_embd."],
  [/^embeddings\.position_embeddings\./, "position_embd."],
  [/^embeddings\.token_type_embeddings\./, "token_types."],
  [/^embeddings\.LayerNorm\./, "token_embd_norm."],
  [/^encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\./, "blk.$1.attn_$2."],
  [/^encoder\.layer\.(\d+)\.attention\.output\.dense\./, "blk.$1.attn_output."],
  [/^encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\./, "blk.$1.attn_output_norm."],
  [/^encoder\.layer\.(\d+)\.intermediate\.dense\./, "blk.$1.ffn_up."],
  [/^encoder\.layer\.(\d+)\.output\.dense\./, "blk.$1.ffn_down."],
  [/^encoder\.layer\.(\d+)\.output\.LayerNorm\./, "blk.$1.layer_output_norm."],
];

/** The model of a folder in GGUF, with 32-bit numbers. */
async function asGguf(folder: string): Promise<Buffer> {
  const weights = await readFile(join(folder, "model.safetensors"));
  const vocabulary = (await readFile(join(folder, "vocab.txt"), "utf8")).trimEnd().split("\n");
  const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8")) as Record<string, number>;
  const headerBytes = Number(weights.readBigUInt64LE(0));
  const { __metadata__: _facts, ...header } = JSON.parse(weights.toString("utf8", 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = Object.entries(header).flatMap(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [from, to],
      },
    ]) => {
      const pair = named.find(([pattern]) => pattern.test(name));
      if (pair === undefined) return [];
      if (dtype !== "F32") throw new Error(`${name} is ${dtype}, not F32`);
      const called = name
        .replace(pair[0], pair[1])
        .replace(/attn_(query|key|value)/, (_whole, what: string) => `attn_${what[0]}`);
      return [
        { called, shape: shape.toReversed(), bytes: weights.subarray(8 + headerBytes + from, 8 + headerBytes + to) },
      ];
    },
  );
  const idOf = (token: string) => vocabulary.indexOf(token);
  const facts: readonly Buffer[] = [
    fact("general.architecture", text("bert")),
    fact("general.name", text("all-MiniLM-L6-v2")),
    fact("bert.block_count", whole(config["num_hidden_layers"])),
    fact("bert.context_length", whole(config["max_position_embeddings"])),
    fact("bert.embedding_length", whole(config["hidden_size"])),
    fact("bert.feed_forward_length", whole(config["intermediate_size"])),
    fact("bert.attention.head_count", whole(config["num_attention_heads"])),
    fact("bert.attention.layer_norm_epsilon", tagged(6, floating(1e-12))),
    fact("bert.attention.causal", tagged(7, Buffer.from([0]))),
    fact("bert.pooling_type", whole(1)),
    fact("tokenizer.ggml.model", text("bert")),
    fact("tokenizer.ggml.token_type_count", whole(2)),
    fact(
      "tokenizer.ggml.tokens",
      list(
        8,
        vocabulary.map((token) => string(pieceOf(token))),
      ),
    ),
    fact(
      "tokenizer.ggml.token_type",
      list(
        5,
        vocabulary.map((token) => int(/^\[.*\]$/.test(token) ? 3 : 1)),
      ),
    ),
    fact("tokenizer.ggml.unknown_token_id", whole(idOf("[UNK]"))),
    fact("tokenizer.ggml.seperator_token_id", whole(idOf("[SEP]"))),
    fact("tokenizer.ggml.padding_token_id", whole(idOf("[PAD]"))),
    fact("tokenizer.ggml.cls_token_id", whole(idOf("[CLS]"))),
    fact("tokenizer.ggml.bos_token_id", whole(idOf("[CLS]"))),
    fact("tokenizer.ggml.eos_token_id", whole(idOf("[SEP]"))),
  ];
  let offset = 0;
  const infos = tensors.map(({ called, shape, bytes }) => {
    const info = Buffer.concat([string(called), int(shape.length), ...shape.map(long), int(0), long(offset)]);
    offset += Math.ceil(bytes.length / 32) * 32;
    return info;
  });
  const head = Buffer.concat([
    Buffer.from("GGUF"),
    int(3),
    long(tensors.length),
    long(facts.length),
    ...facts,
    ...infos,
  ]);
  return Buffer.concat([padded(head), ...tensors.map(({ bytes }) => padded(bytes))]);
}

/** A word begins with a mark; its later pieces don't. */
const pieceOf = (token: string): string =>
  /^\[.*\]$/.test(token) ? token : token.startsWith("##") ? token.slice(2) : `\u2581${token}`;

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function long(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function floating(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

const string = (value: string): Buffer => Buffer.concat([long(Buffer.byteLength(value)), Buffer.from(value)]);
/** A value behind the number of its type in GGUF. */
const tagged = (type: number, value: Buffer): Buffer => Buffer.concat([int(type), value]);
const text = (value: string): Buffer => tagged(8, string(value));
const whole = (value = 0): Buffer => tagged(4, int(value));
const list = (type: number, values: readonly Buffer[]): Buffer =>
  tagged(9, Buffer.concat([int(type), long(values.length), ...values]));
const fact = (key: string, value: Buffer): Buffer => Buffer.concat([string(key), value]);
const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)]);
