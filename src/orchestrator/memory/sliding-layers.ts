/**
 * Period of the full-attention layers, as set by llama.cpp's `load_arch_hparams` if the file has no pattern: one layer
 * in `period` is full, the last of its group or (negative) the first. `window` is the default if the file may omit it.
 */
const layouts: Readonly<Record<string, { readonly period: number; readonly window?: number }>> = {
  afmoe: { period: 4 },
  cohere2: { period: 4 },
  cohere2moe: { period: -4 },
  "exaone-moe": { period: 4, window: 128 },
  exaone4: { period: 4 },
  "gemma-embedding": { period: 6 },
  gemma2: { period: 2, window: 4_096 },
  gemma3: { period: 6 },
  gemma3n: { period: 5 },
  "gpt-oss": { period: 2 },
  gptoss: { period: 2 },
  laguna: { period: -4 },
  llama4: { period: 4, window: 8_192 },
  mellum: { period: 4 },
  "modern-bert": { period: -3 },
  "muse-glimmer": { period: 4 },
  olmo2: { period: 4 },
  olmo3: { period: 4 },
  plamo3: { period: 8 },
  smallthinker: { period: -4 },
};

/** Architectures whose files contain a window that llama.cpp ignores (as of build 10488). */
const ignored: ReadonlySet<string> = new Set(["phi3", "phimoe", "llama", "mistral3", "qwen2", "qwen3", "qwen2moe"]);

/** Which layers cache only a window of tokens, and its length. */
export interface SlidingLayers {
  readonly window: number;
  isSliding(layer: number): boolean;
}

/** `pattern` is a period or one truth value per layer, and overrides the layout of the architecture. */
export function slidingLayers(
  architecture: string,
  layerCount: number,
  stated: { readonly window: number | undefined; readonly pattern: unknown },
): SlidingLayers {
  const layout = layouts[architecture];
  const window = (layout?.window !== undefined && stated.window === undefined ? layout.window : stated.window) ?? 0;
  const none: SlidingLayers = { window: 0, isSliding: () => false };
  if (window === 0 || ignored.has(architecture)) return none;
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
