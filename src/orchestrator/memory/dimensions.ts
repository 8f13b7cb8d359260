import type { ModelFacts } from "../api/types.ts";
import { defined } from "../util/values.ts";
import architectures from "./architectures.json" with { type: "json" };

/** What one layer stores while it decodes. */
interface LayerDimensions {
  /** Numbers per token for the key in this layer's cache; 0 without attention. */
  readonly keyWidth: number;
  /** Numbers per token for the value; 0 for latent attention, where the value is part of the key. */
  readonly valueWidth: number;
  /** Caches only a sliding window of tokens. */
  readonly isSliding: boolean;
  readonly isRecurrent: boolean;
}

/**
 * The dimensions of a model that its memory depends on, from GGUF metadata. Lengths are counts of numbers, not bytes.
 */
export interface ModelDimensions {
  readonly architecture: string;
  /** An embedding model: it computes no logits and has no cache. */
  readonly isEncoder: boolean;
  readonly vocabulary: number;
  readonly width: number;
  /** The largest feed-forward length of all layers. */
  readonly feedForward: number;
  /** Whether the feed-forward is gated: two projections are multiplied instead of one. */
  readonly isGated: boolean;
  /** The largest number of query heads of all layers; 0 without attention. */
  readonly heads: number;
  /** Lengths of one head's key and value in the attention computation. */
  readonly keyLength: number;
  readonly valueLength: number;
  readonly layers: readonly LayerDimensions[];
  /** Window of the sliding layers, in tokens. */
  readonly window: number;
  readonly experts?: {
    /** Active experts per token. */
    readonly used: number;
    readonly feedForward: number;
    /** Whether some layers have a dense feed-forward instead. */
    readonly hasDenseLayers: boolean;
  };
  /** Latent attention (MLA): length of an expanded key. */
  readonly latent?: { readonly keyLength: number };
  readonly recurrent?: {
    /** Sizes of the convolution state and the recurrent state, per sequence and layer. */
    readonly convolutionState: number;
    readonly state: number;
    /** Widths per token: of the projection, of the convolution, of the inner stream. */
    readonly projected: number;
    readonly convolved: number;
    readonly inner: number;
  };
}

/** Embedding architectures, which have no cache (`llama_model::create_memory`). */
const encoders: ReadonlySet<string> = new Set(architectures.encoders);

/** Architectures with `LLM_FFN_SEQ` and no gate in llama.cpp's `src/models`. */
const ungated: ReadonlySet<string> = new Set(architectures.ungated);

/** Architectures with caches of another kind (indexers, compressed keys) or a second one for the encoder. */
const otherCaches: ReadonlySet<string> = new Set(architectures.otherCaches);

type DescribedFacts = Pick<ModelFacts, "metadata" | "vocabularySize">;

const known = new WeakMap<DescribedFacts, { readonly dimensions: ModelDimensions | undefined }>();

/**
 * Undefined if the metadata is incomplete (without layers and width there is nothing to compute), or for kinds of
 * caches that the formula doesn't support. Defaults are those of llama.cpp's `llama_model_base::load_hparams`. Cached
 * by the facts.
 */
export function dimensionsOf(facts: DescribedFacts): ModelDimensions | undefined {
  const { dimensions } = known.get(facts) ?? { dimensions: readDimensions(facts) };
  known.set(facts, { dimensions });
  return dimensions;
}

function readDimensions(facts: DescribedFacts): ModelDimensions | undefined {
  const metadata = facts.metadata ?? {};
  const architecture = metadata["general.architecture"];
  if (typeof architecture !== "string" || otherCaches.has(architecture)) return undefined;
  const value = (key: string): unknown => metadata[`${architecture}.${key}`];
  const number = (key: string): number | undefined => count(value(key));
  const layerCount = number("block_count");
  const width = number("embedding_length");
  const vocabulary = facts.vocabularySize ?? number("vocab_size");
  if (!layerCount || !width || !vocabulary || layerCount > 1_024) return undefined;

  const perLayer = (key: string, otherwise: number): readonly number[] => {
    const stated = value(key);
    return Array.from({ length: layerCount }, (_, layer) =>
      Array.isArray(stated) ? (count(stated[layer]) ?? 0) : (count(stated) ?? otherwise),
    );
  };
  const heads = perLayer("attention.head_count", 0);
  const maxHeads = Math.max(...heads);
  const keyValueHeads = perLayer("attention.head_count_kv", maxHeads);
  const headLength = maxHeads > 0 ? width / maxHeads : 0;
  const keyLength = number("attention.key_length") ?? headLength;
  const valueLength = number("attention.value_length") ?? headLength;
  const feedForwards = perLayer("feed_forward_length", 0);
  const isLatent = (number("attention.key_length_mla") ?? 0) > 0;
  const recurrent = recurrentDimensions(architecture, width, maxHeads, number);
  const recurrentLayers = recurrentLayersOf({
    architecture,
    hasState: recurrent !== undefined,
    stated: value("attention.recurrent_layers"),
    interval: number("full_attention_interval"),
    keyValueHeads,
    feedForwards,
  });
  const sliding = slidingLayers(architecture, layerCount, {
    window: number("attention.sliding_window"),
    pattern: value("attention.sliding_window_pattern"),
  });
  // In gemma3n, the layers from the 20th on share the caches of earlier ones.
  const sharedByDefault = architecture === "gemma3n" ? Math.max(0, layerCount - 20) : 0;
  const ownCaches = layerCount - (number("attention.shared_kv_layers") ?? sharedByDefault);
  const drafts = number("nextn_predict_layers") ?? 0;
  const isEncoder = encoders.has(architecture);
  const isHybrid = recurrent !== undefined && architecture !== "falcon-h1";
  const layers = Array.from({ length: layerCount }, (_, layer): LayerDimensions => {
    const isSliding = sliding.isSliding(layer);
    const isRecurrent = recurrentLayers(layer);
    // Nemotron-H has layers that consist of a feed-forward only.
    const isFeedForward = architecture.startsWith("nemotron_h") && (feedForwards[layer] ?? 0) > 0;
    const isDraft = isHybrid && layer >= layerCount - drafts;
    const keepsNothing = isEncoder || layer >= ownCaches || (isHybrid && isRecurrent) || isFeedForward || isDraft;
    const caches = keepsNothing ? 0 : (keyValueHeads[layer] ?? 0);
    return {
      keyWidth: caches * ((isSliding ? number("attention.key_length_swa") : undefined) ?? keyLength),
      valueWidth: isLatent
        ? 0
        : caches * ((isSliding ? number("attention.value_length_swa") : undefined) ?? valueLength),
      isSliding,
      isRecurrent,
    };
  });
  const experts = expertDimensions(number, Math.max(...feedForwards));
  return {
    architecture,
    isEncoder,
    vocabulary,
    width,
    feedForward: Math.max(...feedForwards),
    isGated: !ungated.has(architecture),
    heads: maxHeads,
    keyLength,
    valueLength,
    layers,
    window: sliding.window,
    ...defined({ experts, recurrent }),
    ...(isLatent ? { latent: { keyLength: number("attention.key_length_mla") ?? 0 } } : {}),
  };
}

type NumberOf = (key: string) => number | undefined;

function expertDimensions(number: NumberOf, feedForward: number): ModelDimensions["experts"] {
  if (!number("expert_count")) return undefined;
  return {
    used: number("expert_used_count") ?? 1,
    feedForward: number("expert_feed_forward_length") ?? feedForward,
    hasDenseLayers: (number("leading_dense_block_count") ?? 0) > 0 || (number("interleave_moe_layer_step") ?? 1) > 1,
  };
}

/** `llama_hparams::n_embd_r` and `n_embd_s`. */
function recurrentDimensions(architecture: string, width: number, heads: number, number: NumberOf) {
  const wkv = number("wkv.head_size");
  if (wkv) {
    const shifted = (number("token_shift_count") ?? 2) * width;
    return { convolutionState: shifted, state: width * wkv, projected: 4 * width, convolved: width, inner: width };
  }
  const kernel = number("shortconv.l_cache");
  if (kernel)
    return { convolutionState: width * (kernel - 1), state: 0, projected: 3 * width, convolved: width, inner: width };
  const convolution = number("ssm.conv_kernel") ?? 0;
  const delta = number("kda.head_dim");
  if (delta) {
    const inner = heads * delta;
    return {
      convolutionState: 3 * Math.max(0, (convolution || 4) - 1) * inner,
      state: delta * inner,
      projected: 3 * inner,
      convolved: 3 * inner,
      inner,
    };
  }
  const inner = number("ssm.inner_size");
  if (!inner) return undefined;
  const state = number("ssm.state_size") ?? 0;
  const mixed = inner + 2 * (number("ssm.group_count") ?? 0) * state;
  return {
    convolutionState: Math.max(0, convolution - 1) * mixed,
    state: state * inner,
    projected: architecture === "mamba" ? 2 * inner : inner + mixed + (number("ssm.time_step_rank") ?? 0),
    convolved: mixed,
    inner,
  };
}

/** Which layers are recurrent, by the rule of each architecture's `load_arch_hparams`. */
function recurrentLayersOf(parts: {
  readonly architecture: string;
  readonly hasState: boolean;
  readonly stated: unknown;
  readonly interval: number | undefined;
  readonly keyValueHeads: readonly number[];
  readonly feedForwards: readonly number[];
}): (layer: number) => boolean {
  const { architecture, stated, keyValueHeads, feedForwards } = parts;
  if (!parts.hasState) return () => false;
  if (Array.isArray(stated)) return (layer) => Boolean(stated[layer]);
  const interval = parts.interval ?? (/^qwen3(next|5|5moe)$/.test(architecture) ? 4 : undefined);
  if (interval !== undefined) return (layer) => (layer + 1) % interval !== 0;
  if (/^(mamba2?|rwkv\d|rwkv6qwen2|arwkv7|falcon-h1)$/.test(architecture)) return () => true;
  const isNemotron = architecture.startsWith("nemotron_h");
  return (layer) => keyValueHeads[layer] === 0 && !(isNemotron && (feedForwards[layer] ?? 0) > 0);
}

/** Larger values in a file are rejected; lengths of real models are far smaller. */
const maxCount = 1e9;

function count(value: unknown): number | undefined {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= maxCount ? Number(value) : undefined;
}

/**
 * Period of the full-attention layers, as set by llama.cpp's `load_arch_hparams` if the file has no pattern: one layer
 * in `period` is full, the last of its group or (negative) the first. `window` is the default if the file may omit it.
 */
const layouts: Readonly<Record<string, { readonly period: number; readonly window?: number }>> = architectures.layouts;

/** Architectures whose files contain a window that llama.cpp ignores (as of build 10488). */
const ignored: ReadonlySet<string> = new Set(architectures.ignoredWindows);

/**
 * Which layers cache only a window of tokens, and its length. `pattern` is a period or one truth value per layer, and
 * overrides the layout of the architecture.
 */
function slidingLayers(
  architecture: string,
  layerCount: number,
  stated: { readonly window: number | undefined; readonly pattern: unknown },
): { readonly window: number; isSliding(layer: number): boolean } {
  const layout = layouts[architecture];
  const window = (layout?.window !== undefined && stated.window === undefined ? layout.window : stated.window) ?? 0;
  if (window === 0 || ignored.has(architecture)) return { window: 0, isSliding: () => false };
  const { pattern } = stated;
  if (Array.isArray(pattern)) return { window, isSliding: (layer) => Boolean(pattern[layer]) };
  // If LFM2 has a window, all of its attention layers are sliding.
  if (architecture.startsWith("lfm2")) return { window, isSliding: () => true };
  const isDenseFirst = (layout?.period ?? 1) < 0;
  const period = typeof pattern === "number" ? pattern : Math.abs(layout?.period ?? 1);
  if (period === 0) return { window, isSliding: (layer) => layer < layerCount };
  return {
    window,
    isSliding: (layer) => (isDenseFirst ? layer % period !== 0 : layer % period < period - 1),
  };
}
