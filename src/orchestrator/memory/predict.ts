import type { MemoryEstimate, ModelFacts } from "../types.ts";
import { cacheBytes, type LoadShape, stateBytes } from "./cache.ts";
import { type ComputeCalibration, unobserved } from "./calibration.ts";
import { computeBytes, outputSlack } from "./compute.ts";
import type { ModelDimensions } from "./dimensions.ts";

/** What a file says of its own size. */
export interface WeightBytes {
  /** Of all tensors. */
  readonly weightsBytes: number;
  /** Projector and adapters, which lie in files of their own. */
  readonly otherBytes?: number;
}

/**
 * From an engine's description: its tensors where it lists them all, else the whole size, which a vision or audio model's
 * projector is a part of.
 */
export function weightBytesOf({ sizeBytes, weightsBytes, capabilities }: ModelFacts): WeightBytes {
  // A list that leaves most of the file unexplained isn't one of all tensors.
  if (weightsBytes === undefined || weightsBytes > sizeBytes || weightsBytes < sizeBytes / 2)
    return { weightsBytes: sizeBytes };
  const hasProjector = capabilities.includes("vision") || capabilities.includes("audio");
  return { weightsBytes, ...(hasProjector ? { otherBytes: sizeBytes - weightsBytes } : {}) };
}

/**
 * Architectures whose compute buffer was compared with llama.cpp's allocator (`bench fit-grid`): the formula was at most
 * 15 % short of it. Others are trusted less; so is LFM2, whose logits may lie behind a whole block (19 % were seen).
 */
const measured: ReadonlySet<string> = new Set(
  `bert cohere2 command-r deepseek2 ernie4_5 exaone4 falcon falcon-h1 gemma2 gemma3 glm4 glm4moe gpt-oss gptoss granite
  granitehybrid internlm2 jamba llama llama4 mamba mamba2 minicpm3 mistral3 nemotron nemotron_h nomic-bert olmo2 olmoe
  phi2 phi3 qwen2 qwen2moe qwen3 qwen3moe qwen3next smollm3 stablelm starcoder2`.split(/\s+/),
);

/** Share of the compute buffer that the formula may be off; `scores`: without flash attention, where it was 17 % short. */
const computeError = { measured: 0.15, scores: 0.2, unmeasured: 0.4 };
/** Share of everything: padding, alignment, keys that a converter left out. */
const generalError = { measured: 0.003, unmeasured: 0.03 };
/** The same share while nothing was observed of this build. */
const unobservedError = 0.3;

/** Around the buffers of an engine process: its program, and tables of the tokenizer per word (50 to 75 MiB for 128,000 to 150,000). */
const processBaseBytes = 64 * 1024 ** 2;
const bytesPerWord = 512;

/**
 * The computed tier: weights, cache, recurrent state and compute buffer from a model's metadata. The margin is the
 * compute buffer's share of the whole times what that part may be off, because the rest is exact: small for big models,
 * wider for small ones with a big batch, wider still for architectures that were never measured and before a size was
 * observed on that build of the engine.
 */
export function computedEstimate(
  model: ModelDimensions,
  load: LoadShape,
  { weightsBytes, otherBytes = 0 }: WeightBytes,
  calibration: ComputeCalibration = unobserved,
): MemoryEstimate {
  const cache = Math.ceil(cacheBytes(model, load));
  const state = stateBytes(model, load);
  const compute = Math.ceil(computeBytes(model, load, calibration.outputs) * calibration.scale);
  const predictedBytes = weightsBytes + cache + state + compute + otherBytes;
  const kind = measured.has(model.architecture) ? "measured" : "unmeasured";
  const formulaError = computeError[kind === "measured" && !load.hasFlashAttention ? "scores" : kind];
  const share = Math.max(formulaError, outputSlack(model, load, calibration.outputs), buildErrorOf(calibration));
  const relative = (share * compute) / predictedBytes + generalError[kind];
  return {
    method: "computed",
    predictedBytes,
    margin: Math.ceil(relative * 1_000) / 1_000,
    parts: {
      weightsBytes,
      cacheBytes: cache,
      ...(state > 0 ? { stateBytes: state } : {}),
      computeBytes: compute,
      otherBytes,
    },
    processBytes: processBytesOf(model.vocabulary),
  };
}

/** Share of the compute buffer that one build may differ from another in. */
export const buildErrorOf = ({ observations, spread }: ComputeCalibration): number =>
  observations === 0 ? unobservedError : spread;

/** What an engine process takes around its buffers. */
export const processBytesOf = (vocabulary: number): number => processBaseBytes + bytesPerWord * vocabulary;
