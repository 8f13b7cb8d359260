import type { InstalledModel } from "../api/types.ts";
import { keyOfName } from "../util/model-name.ts";
import { defined } from "../util/values.ts";
import rows from "./first-models.json" with { type: "json" };

/**
 * A row of `first-models.json`: the name to pull, size (GB), parameters (billions), those that one token uses (billions),
 * bytes of weights that decoding one token reads (GB), where the size comes from and when it was looked up, and what a
 * user has to know of a licence that does not let everyone use the model.
 */
type Row = readonly [
  name: string,
  size: number,
  parameters: number,
  active: number,
  read: number,
  source: string,
  licence?: string,
];

/**
 * Models of 2025 and 2026 that lead Ollama's library and Hugging Face's GGUF downloads, with a published size. Where an
 * encoder for images is part of the file, decoding reads the rest.
 *
 * `plain` are plain GGUF files of text models, which the embedded engine and Ollama run. Models that answer without thinking
 * first are preferred, since thinking takes minutes at 8 tokens/s; gpt-oss thinks briefly. Licences other than LFM's are
 * Apache 2.0. `vision` are models that read images, which only Ollama runs. Gemma 4's E models read few of their
 * parameters per token: the bytes follow from measured speeds (E4B 145 tokens/s on an RTX 3090, E2B 56 on a GTX 1650 Ti).
 * `code` are plain files of models that were made for code, by the same rules.
 */
export const firstModels = [
  ...([...rows.plain, ...rows.code] as unknown as readonly Row[]).map((row) => toModel(row, false)),
  ...(rows.vision as unknown as readonly Row[]).map((row) => toModel(row, true)),
];

/** A model that is suggested to users who have none, or none for their work. */
function toModel([name, size, parameters, activeParameters, read, source, licence]: Row, hasVision: boolean) {
  // The registry's file of one with vision has Ollama's own format, or an encoder for images inside.
  const rest = { hasVision, runsEmbedded: !hasVision, source, ...defined({ licence }) };
  return { name, sizeBytes: size * 1e9, parameters, activeParameters, activeBytes: read * 1e9, ...rest };
}

const byKey = new Map(firstModels.map((model) => [keyOfName(model.name), model]));

export function firstModel(name: string) {
  return byKey.get(keyOfName(name));
}

/** Total and active parameters, in billions, of mixtures of experts whose names don't tell (model cards). */
const mixtures = (rows.mixtures as unknown as readonly (readonly [name: string, total: number, active: number])[]).map(
  ([name, total, active]) => [new RegExp(name), total, active] as const,
);

/** The share of its weights that one token uses; 1 unless the model is a mixture of experts that is known or says so. */
function activeShare(name: string): number {
  const lower = name.toLowerCase();
  const stated = /(\d+(?:\.\d+)?)b-a(\d+(?:\.\d+)?)b/.exec(lower);
  if (stated !== null) return Number(stated[2]) / Number(stated[1]);
  const known = mixtures.find(([pattern]) => pattern.test(lower));
  return known === undefined ? 1 : known[2] / known[1];
}

/** Bytes that decoding one token of an installed model reads: those of its row, else of its active weights; undefined if its size is. */
export function activeBytesOf({ name, sizeBytes }: Pick<InstalledModel, "name" | "sizeBytes">): number | undefined {
  return firstModel(name)?.activeBytes ?? (sizeBytes === 0 ? undefined : sizeBytes * activeShare(name));
}

/** With fewer, much of a token's time goes into other things than reading weights. */
const leastObservedBytes = 500e6;

/**
 * The bandwidth that answers of these models have reached, bytes per second. The highest one, because a busy machine stays
 * below it; undefined if only tiny models have answered, which stay far below it.
 */
export function observedBandwidth(
  models: Iterable<{ readonly tokensPerSecond?: number | undefined; readonly activeBytes: number | undefined }>,
): number | undefined {
  let highest: number | undefined;
  for (const { tokensPerSecond, activeBytes = 0 } of models) {
    if (tokensPerSecond === undefined || activeBytes < leastObservedBytes) continue;
    highest = Math.max(highest ?? 0, tokensPerSecond * activeBytes);
  }
  return highest;
}

/** For the choice alone, if no speed is known: a notebook with two memory channels. */
export const assumedBytesPerSecond = 20e9;

/**
 * Expected decode speed: tokens/s = effective bandwidth ÷ bytes of weights read per token.
 *
 * Decoding one answer reads all active weights once per token, and computes little with them, so that the memory's
 * bandwidth is the limit (Pope et al., "Efficiently Scaling Transformer Inference", 2022, section 2). A mixture of
 * experts reads its active parameters only. The effective bandwidth is below the peak by what kernels, attention and
 * sampling cost; its factors below are measured.
 */
export function expectedTokensPerSecond(bytesPerSecond: number, activeBytes: number): number {
  return bytesPerSecond / activeBytes;
}

/**
 * What one core decodes, in bytes of quantized weights per second, however quick the memory is: measured with
 * llama.cpp v0.4.0 on one core of an EPYC server, whose memory gives that core 40 GB/s: 11.4 (SmolLM2 135M Q4_1), and
 * 7.9 (Gemma 3 270M Q4_K_M) on a busy machine.
 */
const coreBytesPerSecond = 10e9;
/** llama.cpp reaches about this share of the bandwidth that plain reading measures. */
const readingShare = 0.85;

/** Effective bandwidth of main memory: `measuredBytesPerSecond` is that of plain reading with all `threads`. */
export function ramBandwidth(measuredBytesPerSecond: number, threads: number): number {
  return Math.min(measuredBytesPerSecond * readingShare, threads * coreBytesPerSecond);
}

/**
 * Share of a card's peak bandwidth that decoding reaches: an RTX 3090 (936 GB/s) decodes Gemma 3 4B Q4_K_M (2.49 GB) at
 * 190 tokens/s, a GTX 1650 Ti (192 GB/s) Qwen3 4B Q4_K_M (2.5 GB) at 37 (llama.cpp, published benchmarks of 2026).
 */
const cardShare = 0.5;

/** Peak bandwidth in GB/s by a part of the card's name, the more specific first: data sheets of the makers. */
const cardBandwidths = (rows.cards as unknown as readonly (readonly [name: string, gigabytes: number])[]).map(
  ([name, gigabytes]) => [new RegExp(name, "i"), gigabytes] as const,
);
/** For other cards: that of the slowest ones sold since 2016 with gigabytes of memory of their own (GTX 1050: 112 GB/s). */
const unknownCardBandwidth = 112;

/** Effective bandwidth of a graphics card, from its name. */
export function cardBandwidth(name: string): number {
  const [, known] = cardBandwidths.find(([pattern]) => pattern.test(name)) ?? [];
  return (known ?? unknownCardBandwidth) * 1e9 * cardShare;
}
