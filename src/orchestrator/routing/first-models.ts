import type { ModelSuggestion, SuggestedModel } from "../api/facade.ts";
import type { InstalledModel } from "../api/types.ts";
import { sizeRuleBytes } from "../memory/predict.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { keyOfName } from "../util/model-name.ts";
import { defined } from "../util/defined.ts";

/** A model that is suggested to users who have none. */
interface FirstModel {
  /** The name to pull. */
  readonly name: string;
  readonly sizeBytes: number;
  /** In billions. */
  readonly parameters: number;
  /** In billions: those that one token uses, which are all unless the model is a mixture of experts. */
  readonly activeParameters: number;
  /** Bytes of weights that decoding one token reads. */
  readonly activeBytes: number;
  readonly hasVision: boolean;
  /** False: the registry's file has Ollama's own format, or an encoder for images inside. */
  readonly runsEmbedded: boolean;
  /** Where the size comes from, and when it was looked up. */
  readonly source: string;
  /** What a user has to know of a licence that does not let everyone use the model. */
  readonly licence?: string;
}

/** Name, size (GB), parameters (billions), those active (billions), bytes read per token (GB), source, licence. */
type Row = readonly [
  name: string,
  size: number,
  parameters: number,
  active: number,
  read: number,
  source: string,
  licence?: string,
];

const lfmLicence = "free for companies with less than $10 million revenue";

/**
 * Plain GGUF files of text models, which the embedded engine and Ollama run. Models that answer without thinking first
 * are preferred, since thinking takes minutes at 8 tokens/s; gpt-oss thinks briefly.
 */
const plain: readonly Row[] = [
  // Licences other than LFM's are Apache 2.0.
  [
    "hf.co/LiquidAI/LFM2.5-350M-GGUF:Q8_0",
    0.379,
    0.35,
    0.35,
    0.379,
    "LiquidAI/LFM2.5-350M-GGUF: 379,217,632 bytes; 2026-11-22",
    lfmLicence,
  ],
  [
    "hf.co/LiquidAI/LFM2.5-1.2B-Instruct-GGUF:Q4_K_M",
    0.731,
    1.17,
    1.17,
    0.731,
    "LiquidAI/LFM2.5-1.2B-Instruct-GGUF: 730,895,168 bytes; 2026-11-22",
    lfmLicence,
  ],
  ["granite4.1:3b", 2.1, 3.4, 3.4, 2.1, "ollama.com/library/granite4.1: 2.1 GB, released 2026-04; 2026-11-22"],
  [
    "qwen3:4b-instruct",
    2.5,
    4.02,
    4.02,
    2.5,
    "ollama.com/library/qwen3 (Qwen3-4B-Instruct-2507 Q4_K_M: 2,497,280,736 bytes); 2026-11-22",
  ],
  ["granite4.1:8b", 5.3, 8.8, 8.8, 5.3, "ollama.com/library/granite4.1: 5.3 GB, released 2026-04; 2026-11-22"],
  [
    "hf.co/ggml-org/gpt-oss-20b-GGUF",
    12.1,
    20.9,
    3.6,
    2.1,
    "ggml-org/gpt-oss-20b-GGUF: 12,109,566,624 bytes, 3.6B active (model card); 2026-11-22",
  ],
  [
    "hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:Q4_K_M",
    18.6,
    30.5,
    3.3,
    2.0,
    "unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF: 18.6 GB, 3.3B active (model card); 2026-11-22",
  ],
];

/**
 * Models that read images, which only Ollama runs. Gemma 4's E models read few of their parameters per token: the bytes
 * follow from measured speeds (E4B 145 tokens/s on an RTX 3090, E2B 56 on a GTX 1650 Ti).
 */
const visionRows: readonly Row[] = [
  ["qwen3.5:0.8b", 1.0, 0.87, 0.87, 0.8, "ollama.com/library/qwen3.5: 1.0 GB, released 2026-03; 2026-11-22"],
  ["qwen3.5:2b", 2.7, 2.3, 2.3, 2.0, "ollama.com/library/qwen3.5: 2.7 GB; 2026-11-22"],
  ["qwen3.5:4b", 3.4, 4.66, 4.66, 2.8, "ollama.com/library/qwen3.5: 3.4 GB; 2026-11-22"],
  ["qwen3.5:9b", 6.6, 9.65, 9.65, 5.7, "ollama.com/library/qwen3.5: 6.6 GB; 2026-11-22"],
  ["qwen3.5:35b", 24, 34.7, 3, 2.1, "ollama.com/library/qwen3.5: 24 GB, 3B active; 2026-11-22"],
  ["gemma4:e2b", 7.2, 5.1, 2.3, 1.7, "ollama.com/library/gemma4: 7.2 GB, released 2026-04; 2026-11-22"],
  ["gemma4:e4b", 9.6, 8, 4.5, 3.3, "ollama.com/library/gemma4: 9.6 GB; 2026-11-22"],
  ["gemma4:12b", 7.6, 12, 12, 7.6, "ollama.com/library/gemma4: 7.6 GB; 2026-11-22"],
  ["gemma4:26b", 18, 25.2, 3.8, 2.7, "ollama.com/library/gemma4: 18 GB, 3.8B active; 2026-11-22"],
  ["gemma4:31b", 20, 30.7, 30.7, 19.6, "ollama.com/library/gemma4: 20 GB; 2026-11-22"],
];

/**
 * Models of 2025 and 2026 that lead Ollama's library and Hugging Face's GGUF downloads, with a published size. Where an
 * encoder for images is part of the file, decoding reads the rest.
 */
export const firstModels: readonly FirstModel[] = [
  ...plain.map((row) => toModel(row, false)),
  ...visionRows.map((row) => toModel(row, true)),
];

function toModel(
  [name, size, parameters, activeParameters, read, source, licence]: Row,
  hasVision: boolean,
): FirstModel {
  const rest = { hasVision, runsEmbedded: !hasVision, source, ...defined({ licence }) };
  return { name, sizeBytes: size * 1e9, parameters, activeParameters, activeBytes: read * 1e9, ...rest };
}

const byKey = new Map(firstModels.map((model) => [keyOfName(model.name), model]));

export function firstModel(name: string): FirstModel | undefined {
  return byKey.get(keyOfName(name));
}

/**
 * Bytes that decoding one token of an installed model reads: those of its row, else its size; undefined for a name of a
 * mixture of experts (`30b-a3b`, `8x7b`) without a row.
 */
export function activeBytesOf({ name, sizeBytes }: Pick<InstalledModel, "name" | "sizeBytes">): number | undefined {
  const known = firstModel(name)?.activeBytes;
  if (known !== undefined || sizeBytes === 0) return known;
  return /-a\d+(?:\.\d+)?b\b|\dx\d|moe|gpt-oss/i.test(name) ? undefined : sizeBytes;
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

/** What a suggestion depends on. Bytes. */
export interface SuggestionMachine {
  readonly availableBytes: number;
  /** `memory.bufferBytes` */
  readonly bufferBytes: number;
  /** Effective bandwidth of main memory, bytes per second (`ramBandwidth`, or observed); absent if unknown. */
  readonly ramBytesPerSecond?: number | undefined;
  /** Graphics cards that the engines use. */
  readonly cards?: readonly { readonly name: string; readonly totalBytes: number; readonly freeBytes?: number }[];
  /** Whether an Ollama on this machine responds. */
  readonly hasOllama?: boolean;
}

/** About the speed at which people read. */
const leastTokensPerSecond = 8;
/** The quick model reads this many times fewer bytes per token, and is smaller, too. */
const quickFactor = 2.5;
/** For the choice alone, if no speed is known: a notebook with two memory channels. */
export const assumedBytesPerSecond = 20e9;

/** A model of the table on this machine. */
interface Measured {
  readonly model: FirstModel;
  readonly neededBytes: number;
  readonly fits: boolean;
  /** Free memory that it would use, with its name if it is a card. */
  readonly memory: string;
  readonly tokensPerSecond: number;
  readonly isSpeedKnown: boolean;
}

/**
 * The strongest model that fits and is expected to reach 8 tokens/s, else the quickest that fits; beside it one that is
 * clearly quicker, and one that reads images. Strength is the geometric mean of all and active parameters, which
 * ranks mixtures of experts beside dense models.
 */
export function suggestModels(machine: SuggestionMachine): ModelSuggestion {
  const usable = firstModels.filter(({ runsEmbedded }) => runsEmbedded || machine.hasOllama === true);
  const measured = usable.map((model) => measure(model, machine)).toSorted((a, b) => strength(b) - strength(a));
  const fitting = measured.filter(({ fits }) => fits);
  const best = fitting.find(isQuickEnough) ?? quickest(fitting);
  if (best === undefined) return nothingFits(measured, machine);
  const quick = fitting.find(
    ({ model }) => model.activeBytes * quickFactor <= best.model.activeBytes && model.sizeBytes < best.model.sizeBytes,
  );
  const withVision = fitting.filter(({ model }) => model.hasVision);
  const vision = best.model.hasVision ? undefined : (withVision.find(isQuickEnough) ?? quickest(withVision));
  return {
    ...described(best),
    alternatives: [
      ...(quick === undefined ? [] : [{ kind: "quick" as const, ...described(quick) }]),
      ...(vision === undefined || vision === quick ? [] : [{ kind: "vision" as const, ...described(vision) }]),
    ],
  };
}

/** What is known of a model before it is pulled: `2.5 GB download, ...`; undefined for models without a row. */
export function describeDownload(name: string, machine: SuggestionMachine): string | undefined {
  const model = firstModel(name);
  return model && reasonOf(measure(model, machine));
}

/** A model that reads images and runs here. */
export function suggestVisionModel(machine: SuggestionMachine): string | undefined {
  const { alternatives, ...best } = suggestModels(machine);
  const hasBestVision = firstModels.some(({ name, hasVision }) => hasVision && name === best.name);
  return hasBestVision ? best.name : alternatives.find(({ kind }) => kind === "vision")?.name;
}

function measure(model: FirstModel, machine: SuggestionMachine): Measured {
  const { availableBytes, bufferBytes, ramBytesPerSecond, cards = [] } = machine;
  const loadedBytes = sizeRuleBytes(model.sizeBytes);
  const card = cards
    .map((each) => ({ ...each, freeBytes: each.freeBytes ?? each.totalBytes }))
    .filter(({ freeBytes }) => loadedBytes <= freeBytes)
    .toSorted((a, b) => cardBandwidth(b.name) - cardBandwidth(a.name))[0];
  if (card !== undefined) {
    return {
      model,
      neededBytes: loadedBytes,
      fits: true,
      memory: `${formatBytes(card.freeBytes)} free on ${card.name}`,
      tokensPerSecond: expectedTokensPerSecond(cardBandwidth(card.name), model.activeBytes),
      isSpeedKnown: true,
    };
  }
  const neededBytes = Math.max(loadedBytes, model.sizeBytes + bufferBytes);
  return {
    model,
    neededBytes,
    fits: neededBytes < availableBytes,
    memory: `${formatBytes(availableBytes)} available`,
    tokensPerSecond: expectedTokensPerSecond(ramBytesPerSecond ?? assumedBytesPerSecond, model.activeBytes),
    isSpeedKnown: ramBytesPerSecond !== undefined,
  };
}

function strength({ model }: Measured): number {
  return Math.sqrt(model.parameters * model.activeParameters);
}

function isQuickEnough({ tokensPerSecond }: Measured): boolean {
  return tokensPerSecond >= leastTokensPerSecond;
}

function quickest(measured: readonly Measured[]): Measured | undefined {
  return measured.toSorted((a, b) => b.tokensPerSecond - a.tokensPerSecond)[0];
}

function described(measured: Measured): SuggestedModel {
  const slow = isQuickEnough(measured)
    ? ""
    : `; no model that fits reaches ${leastTokensPerSecond} tokens/s on this machine`;
  return { name: measured.model.name, reason: `${reasonOf(measured)}${slow}` };
}

function reasonOf({ model, neededBytes, memory, tokensPerSecond, isSpeedKnown }: Measured): string {
  const speed = isSpeedKnown ? `, about ${shown(tokensPerSecond)} tokens/s` : "";
  const licence = model.licence === undefined ? "" : `, ${model.licence}`;
  return `${formatBytes(model.sizeBytes)} download, needs ${formatBytes(neededBytes)} of the ${memory}${speed}${licence}`;
}

/** Two digits: it is an expectation. */
function shown(tokensPerSecond: number): string {
  return String(Number(tokensPerSecond.toPrecision(tokensPerSecond < 1 ? 1 : 2)));
}

function nothingFits(measured: readonly Measured[], { availableBytes }: SuggestionMachine): ModelSuggestion {
  const smallest = measured.reduce((a, b) => (b.model.sizeBytes < a.model.sizeBytes ? b : a));
  const needed = formatBytes(smallest.neededBytes);
  const reason = `the smallest known (${formatBytes(smallest.model.sizeBytes)}); it needs ${needed} with memory.bufferBytes, and ${formatBytes(availableBytes)} are available`;
  return { name: smallest.model.name, reason, alternatives: [] };
}

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
const cardBandwidths: readonly (readonly [RegExp, number])[] = [
  [/\bB200\b/, 8000],
  [/\bH200\b/, 4800],
  [/\bH100\b.*PCIe/i, 2000],
  [/\bH100\b/, 3350],
  [/\bA100\b/, 1555],
  [/\bMI300X\b/, 5300],
  [/\bL40S?\b/, 864],
  [/\bA6000\b/, 768],
  [/\bA10G?\b/, 600],
  [/\b(?:Tesla )?T4\b/, 320],
  [/\b5090\b/, 1792],
  [/\b5080\b/, 960],
  [/\b5070 Ti\b/i, 896],
  [/\b5070\b/, 672],
  [/\b50[56]0\b/, 448],
  [/\b4090\b/, 1008],
  [/\b4080\b/, 717],
  [/\b4070\b/, 504],
  [/\b40[56]0\b/, 256],
  [/\b3090\b/, 936],
  [/\b3080\b/, 760],
  [/\b30[67]0\b/, 360],
  [/\b3050\b/, 192],
  [/\b20[678]0\b/, 336],
  [/\b16[56]0\b/, 128],
  [/\b7900 XTX?\b/i, 800],
  [/\b(?:9070|7800)\b/, 624],
  [/\b(?:9060|7600|6600)\b/, 224],
  [/\b6[89]00\b/, 512],
  [/\bArc.*(?:B5[78]0|A7[57]0)\b/i, 456],
];
/** For other cards: that of the slowest ones sold since 2016 with gigabytes of memory of their own (GTX 1050: 112 GB/s). */
const unknownCardBandwidth = 112;

/** Effective bandwidth of a graphics card, from its name. */
export function cardBandwidth(name: string): number {
  const [, known] = cardBandwidths.find(([pattern]) => pattern.test(name)) ?? [];
  return (known ?? unknownCardBandwidth) * 1e9 * cardShare;
}
