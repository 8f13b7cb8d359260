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
