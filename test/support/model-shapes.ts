/** The values in a model's config.json that determine its memory. */
export interface Shape {
  /** Common name. */
  readonly name: string;
  /** `general.architecture` of its GGUF. */
  readonly architecture: string;
  readonly vocabulary: number;
  readonly width: number;
  readonly layers: number;
  readonly feedForward: number;
  readonly heads: number;
  /** One number, or one per layer (0: the layer has no attention). */
  readonly headsKv: number | readonly number[];
  /** Width of a head, if it isn't width ÷ heads. */
  readonly headLength?: number;
  readonly context: number;
  /** The output matrix is the embedding matrix. */
  readonly isTied?: boolean;
  /** Sliding window in tokens. */
  readonly window?: number;
  readonly experts?: {
    readonly count: number;
    readonly used: number;
    readonly feedForward: number;
    /** Feed-forward length of the shared expert, which processes every token. */
    readonly shared?: number;
    /** Number of leading layers without experts. */
    readonly denseLayers?: number;
  };
  readonly ssm?: {
    readonly kernel: number;
    readonly inner: number;
    readonly state: number;
    readonly groups: number;
    /** Heads, or the rank of the time step in Mamba 1. */
    readonly rank: number;
  };
  /** Multi-head latent attention; `queryRank` where queries are compressed too. */
  readonly mla?: {
    readonly rank: number;
    readonly queryRank?: number;
    readonly rope: number;
    readonly keyLength: number;
    readonly valueLength: number;
  };
  /** Kernel of the short convolutions (LFM2) in layers without attention. */
  readonly shortConvolution?: number;
}

type Sizes = readonly [
  vocabulary: number,
  width: number,
  layers: number,
  feedForward: number,
  heads: number,
  headsKv: number,
];

function shape(name: string, architecture: string, sizes: Sizes, more: Partial<Shape> = {}): Shape {
  const [vocabulary, width, layers, feedForward, heads, headsKv] = sizes;
  return { name, architecture, vocabulary, width, layers, feedForward, heads, headsKv, context: 131_072, ...more };
}

const tied = { isTied: true } as const;
const moe = (count: number, used: number, feedForward: number, shared?: number) => ({
  experts: { count, used, feedForward, ...(shared === undefined ? {} : { shared }) },
});
const ssm = (inner: number, state: number, groups: number, rank: number) => ({
  ssm: { kernel: 4, inner, state, groups, rank },
});
/** Attention in these layers only. */
const attentionIn = (layers: number, attention: readonly number[], headsKv: number) => ({
  headsKv: Array.from({ length: layers }, (_, layer) => (attention.includes(layer) ? headsKv : 0)),
});
const graniteAttention = (headsKv: number) => attentionIn(40, [5, 15, 25, 35], headsKv);

/** Shapes of published models whose measurements the formula of the compute buffer is derived from. */
export const fittedShapes: readonly Shape[] = [
  shape("Llama 3.2 1B", "llama", [128_256, 2_048, 16, 8_192, 32, 8], tied),
  shape("Llama 3.2 3B", "llama", [128_256, 3_072, 28, 8_192, 24, 8], tied),
  shape("Llama 3.1 8B", "llama", [128_256, 4_096, 32, 14_336, 32, 8]),
  shape("Llama 3.1 70B", "llama", [128_256, 8_192, 80, 28_672, 64, 8]),
  shape("Llama 2 7B", "llama", [32_000, 4_096, 32, 11_008, 32, 32]),
  shape("Mistral 7B", "llama", [32_768, 4_096, 32, 14_336, 32, 8]),
  shape("Mistral Nemo 12B", "llama", [131_072, 5_120, 40, 14_336, 32, 8], { headLength: 128 }),
  shape("Mixtral 8x7B", "llama", [32_000, 4_096, 32, 14_336, 32, 8], moe(8, 2, 14_336)),
  shape("SmolLM2 135M", "llama", [49_152, 576, 30, 1_536, 9, 3], tied),
  shape("SmolLM2 1.7B", "llama", [49_152, 2_048, 24, 8_192, 32, 32], tied),
  shape("Granite 3.3 8B", "granite", [49_155, 4_096, 40, 12_800, 32, 8], tied),
  shape("Qwen 2.5 0.5B", "qwen2", [151_936, 896, 24, 4_864, 14, 2], tied),
  shape("Qwen 2.5 7B", "qwen2", [152_064, 3_584, 28, 18_944, 28, 4]),
  shape("Qwen 2.5 32B", "qwen2", [152_064, 5_120, 64, 27_648, 40, 8]),
  shape("Qwen 3 0.6B", "qwen3", [151_936, 1_024, 28, 3_072, 16, 8], { ...tied, headLength: 128 }),
  shape("Qwen 3 8B", "qwen3", [151_936, 4_096, 36, 12_288, 32, 8], { headLength: 128 }),
  shape("Qwen 3 30B-A3B", "qwen3moe", [151_936, 2_048, 48, 6_144, 32, 4], { headLength: 128, ...moe(128, 8, 768) }),
  shape("Qwen 3 Next 80B-A3B", "qwen3next", [151_936, 2_048, 48, 5_120, 16, 2], {
    headLength: 256,
    ...moe(512, 10, 512, 512),
    ...ssm(4_096, 128, 16, 32),
  }),
  shape("Gemma 2 2B", "gemma2", [256_000, 2_304, 26, 9_216, 8, 4], { ...tied, headLength: 256, window: 4_096 }),
  shape("Gemma 2 9B", "gemma2", [256_000, 3_584, 42, 14_336, 16, 8], { ...tied, headLength: 256, window: 4_096 }),
  shape("Gemma 3 1B", "gemma3", [262_144, 1_152, 26, 6_912, 4, 1], { ...tied, headLength: 256, window: 512 }),
  shape("Gemma 3 4B", "gemma3", [262_144, 2_560, 34, 10_240, 8, 4], { ...tied, headLength: 256, window: 1_024 }),
  shape("Gemma 3 27B", "gemma3", [262_144, 5_376, 62, 21_504, 32, 16], { ...tied, headLength: 128, window: 1_024 }),
  shape("gpt-oss 20B", "gpt-oss", [201_088, 2_880, 24, 2_880, 64, 8], {
    headLength: 64,
    window: 128,
    ...moe(32, 4, 2_880),
  }),
  shape("Phi 3 mini", "phi3", [32_064, 3_072, 32, 8_192, 32, 32]),
  shape("Phi 4 14B", "phi3", [100_352, 5_120, 40, 17_920, 40, 10]),
  shape("DeepSeek V2 Lite", "deepseek2", [102_400, 2_048, 27, 10_944, 16, 1], {
    experts: { count: 64, used: 6, feedForward: 1_408, shared: 2_816, denseLayers: 1 },
    mla: { rank: 512, rope: 64, keyLength: 192, valueLength: 128 },
  }),
  shape("Granite 4 H tiny", "granitehybrid", [100_352, 1_536, 40, 512, 12, 4], {
    ...tied,
    ...graniteAttention(4),
    ...moe(64, 6, 512, 1_024),
    ...ssm(3_072, 128, 1, 48),
  }),
  shape("Granite 4 H micro", "granitehybrid", [100_352, 2_048, 40, 8_192, 32, 8], {
    ...tied,
    ...graniteAttention(8),
    ...ssm(4_096, 128, 1, 64),
  }),
  shape("Falcon H1 1.5B", "falcon-h1", [65_536, 2_048, 24, 4_096, 8, 2], {
    headLength: 128,
    ...ssm(3_072, 256, 1, 48),
  }),
  shape("Mamba 1.4B", "mamba", [50_280, 2_048, 48, 0, 0, 0], { ...tied, ...ssm(4_096, 16, 0, 128) }),
  shape("Mamba 2 2.7B", "mamba2", [50_288, 2_560, 64, 0, 0, 0], { ...tied, ...ssm(5_120, 128, 1, 80) }),
  shape("LFM2 1.2B", "lfm2", [65_536, 2_048, 16, 8_192, 32, 8], {
    ...tied,
    ...attentionIn(16, [2, 5, 8, 10, 12, 14], 8),
    shortConvolution: 3,
  }),
  shape("Command R 35B", "command-r", [256_000, 8_192, 40, 22_528, 64, 64], tied),
  shape("Command R7B", "cohere2", [256_000, 4_096, 32, 14_336, 32, 8], { ...tied, window: 4_096 }),
  shape("OLMo 2 7B", "olmo2", [100_352, 4_096, 32, 11_008, 32, 32]),
];

/** Shapes that the formula was tested with, not derived from; six of them have their own architectures. */
export const heldOutShapes: readonly Shape[] = [
  shape("TinyLlama 1.1B", "llama", [32_000, 2_048, 22, 5_632, 32, 4]),
  shape("Llama 2 13B", "llama", [32_000, 5_120, 40, 13_824, 40, 40]),
  shape("Yi 34B", "llama", [64_000, 7_168, 60, 20_480, 56, 8]),
  shape("Mistral Small 24B", "llama", [131_072, 5_120, 40, 32_768, 32, 8], { headLength: 128 }),
  shape("Mixtral 8x22B", "llama", [32_768, 6_144, 56, 16_384, 48, 8], moe(8, 2, 16_384)),
  shape("SmolLM2 360M", "llama", [49_152, 960, 32, 2_560, 15, 5], tied),
  shape("Qwen 2.5 14B", "qwen2", [152_064, 5_120, 48, 13_824, 40, 8]),
  shape("Qwen 3 4B", "qwen3", [151_936, 2_560, 36, 9_728, 32, 8], { ...tied, headLength: 128 }),
  shape("Qwen 3 235B-A22B", "qwen3moe", [151_936, 4_096, 94, 12_288, 64, 4], {
    headLength: 128,
    ...moe(128, 8, 1_536),
  }),
  shape("Gemma 2 27B", "gemma2", [256_000, 4_608, 46, 36_864, 32, 16], { ...tied, headLength: 128, window: 4_096 }),
  shape("Gemma 3 270M", "gemma3", [262_144, 640, 18, 2_048, 4, 1], { ...tied, headLength: 256, window: 512 }),
  shape("Gemma 3 12B", "gemma3", [262_144, 3_840, 48, 15_360, 16, 8], { ...tied, headLength: 256, window: 1_024 }),
  shape("gpt-oss 120B", "gpt-oss", [201_088, 2_880, 36, 2_880, 64, 8], {
    headLength: 64,
    window: 128,
    ...moe(128, 4, 2_880),
  }),
  shape("Phi 3 medium", "phi3", [32_064, 5_120, 40, 17_920, 40, 10]),
  shape("DeepSeek V3 671B", "deepseek2", [129_280, 7_168, 61, 18_432, 128, 1], {
    experts: { count: 256, used: 8, feedForward: 2_048, shared: 2_048, denseLayers: 3 },
    mla: { rank: 512, queryRank: 1_536, rope: 64, keyLength: 192, valueLength: 128 },
  }),
  shape("Granite 4 H small", "granitehybrid", [100_352, 4_096, 40, 768, 32, 8], {
    ...tied,
    ...graniteAttention(8),
    ...moe(72, 10, 768, 1_536),
    ...ssm(8_192, 128, 1, 128),
  }),
  shape("Falcon H1 7B", "falcon-h1", [130_048, 3_072, 44, 12_288, 12, 2], {
    headLength: 128,
    ...ssm(3_072, 256, 1, 24),
  }),
  shape("Mamba 130M", "mamba", [50_280, 768, 24, 0, 0, 0], { ...tied, ...ssm(1_536, 16, 0, 48) }),
  shape("SmolLM3 3B", "smollm3", [128_256, 2_048, 36, 11_008, 16, 4], tied),
  shape("OLMoE 7B-A1B", "olmoe", [50_304, 2_048, 16, 1_024, 16, 16], moe(64, 8, 1_024)),
  shape("InternLM2 7B", "internlm2", [92_544, 4_096, 32, 14_336, 32, 8]),
  shape("ERNIE 4.5 0.3B", "ernie4_5", [103_424, 1_024, 18, 3_072, 16, 2], { ...tied, headLength: 128 }),
  shape("EXAONE 4 32B", "exaone4", [102_400, 5_120, 64, 27_392, 40, 8], { window: 4_096 }),
  shape("GLM 4 9B", "glm4", [151_552, 4_096, 40, 13_696, 32, 2]),
  shape("LFM2 350M", "lfm2", [65_536, 1_024, 16, 4_608, 16, 8], {
    ...tied,
    ...attentionIn(16, [2, 5, 8, 10, 12, 14], 8),
    shortConvolution: 3,
  }),
  shape("Mistral Small 3.2 24B", "mistral3", [131_072, 5_120, 40, 32_768, 32, 8], { headLength: 128 }),
];

/**
 * Synthetic shapes: small vocabularies with narrow and wide blocks, where gaps in a buffer matter most, and other numbers of
 * experts and heads. The formula's margins are derived from them, its counts are not.
 */
export const inventedShapes: readonly Shape[] = [
  shape("768 wide, 32k words", "llama", [32_000, 768, 12, 2_048, 12, 12]),
  shape("1,536 wide, 8k words", "llama", [8_192, 1_536, 20, 4_096, 24, 2]),
  shape("heads of 256, 32k words", "llama", [32_000, 2_048, 18, 4_096, 32, 4], { headLength: 256 }),
  shape("block as wide as the stream", "llama", [32_000, 2_560, 24, 2_560, 20, 20]),
  shape("4 experts, 1 used, 32k words", "llama", [32_000, 2_048, 16, 5_632, 16, 8], moe(4, 1, 5_632)),
  shape("16 experts, 4 used, 32k words", "llama", [32_000, 1_024, 16, 1_536, 16, 4], moe(16, 4, 1_536)),
  shape("64 experts, 4 used, 32k words", "qwen3moe", [32_000, 1_024, 24, 384, 16, 2], {
    headLength: 128,
    ...moe(64, 4, 384),
  }),
  shape("32 experts, 16 used", "olmoe", [50_304, 1_280, 12, 640, 10, 10], moe(32, 16, 640)),
  shape("latent attention, 32k words", "deepseek2", [32_000, 1_024, 27, 4_096, 8, 1], {
    experts: { count: 32, used: 4, feedForward: 512, shared: 512, denseLayers: 2 },
    mla: { rank: 256, rope: 32, keyLength: 96, valueLength: 64 },
  }),
  shape("sinks, 32k words", "gpt-oss", [32_000, 1_536, 12, 1_536, 24, 4], {
    headLength: 64,
    window: 128,
    ...moe(16, 2, 1_536),
  }),
  shape("window of 256, 32k words", "gemma3", [32_000, 1_536, 20, 6_144, 6, 2], { headLength: 256, window: 256 }),
  shape("window of 1,024, 100k words", "cohere2", [100_000, 2_048, 20, 8_192, 16, 4], { ...tied, window: 1_024 }),
  shape("delta net, 64k words", "qwen3next", [64_000, 1_024, 24, 5_120, 16, 2], {
    headLength: 256,
    ...moe(64, 6, 256, 256),
    ...ssm(2_048, 128, 8, 16),
  }),
  shape("Mamba 2, 32k words", "mamba2", [32_000, 1_024, 24, 0, 0, 0], { ...tied, ...ssm(2_048, 64, 2, 32) }),
];
