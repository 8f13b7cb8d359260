import { ChildFailure } from "./failure.ts";
import type { GgufFileInfo, Llama, NodeLlamaCpp, Requirements } from "./node-llama-cpp.ts";
import { cacheTypeNumbers, type EstimateDone, type EstimateRequest } from "./protocol.ts";

/** llama.cpp gives contexts out in steps of this many tokens. */
const stepTokens = 256;

/**
 * Runs llama.cpp's allocator without allocating, then, where asked, loads the vocabulary alone, so that the growth of
 * this process afterwards is what a model costs beside its buffers (tokenizer tables, headers). Use a fresh process for
 * each model.
 * Throws when the library fell back to its own heuristics: they don't deserve the name *simulated*.
 */
export async function estimate(
  library: NodeLlamaCpp,
  llama: Llama,
  request: EstimateRequest,
  logLines: () => readonly string[],
): Promise<EstimateDone> {
  const { file, useMmap, isEmbedding, hasFlashAttention } = request;
  const info = await library.readGgufFileInfo(file, { logWarnings: false, sourceType: "filesystem" });
  const insights = await library.GgufInsights.from(info, llama);
  // Matches what loading does: all layers on the GPU's side where there is one.
  const gpuLayers = llama.gpu === false ? 0 : insights.totalLayers + 1;
  const cacheType = cacheTypeNumbers[request.cacheType ?? "f16"];
  const contextBytes = async (contextTokens: number) =>
    sum(
      await insights.estimateContextResourceRequirementsV2({
        contextSize: contextTokens,
        modelGpuLayers: gpuLayers,
        batchSize: Math.min(request.batchTokens, contextTokens * request.sequences),
        sequences: request.sequences,
        isEmbeddingContext: isEmbedding,
        flashAttention: hasFlashAttention ?? "auto",
        useMmap,
        kvCacheKeyType: cacheType,
        kvCacheValueType: cacheType,
      }),
    );
  // The smallest one with the same batch: what it takes beyond its cache is compute.
  const batchPerSequence = Math.ceil(request.batchTokens / request.sequences);
  const smallestContextTokens = Math.max(1, Math.ceil(batchPerSequence / stepTokens)) * stepTokens;
  const weightsBytes = sum(await insights.estimateModelResourceRequirementsV2({ gpuLayers, useMmap }));
  const done = {
    weightsBytes,
    contextBytes: await contextBytes(request.contextTokens),
    smallestContextBytes: await contextBytes(smallestContextTokens),
    smallestContextTokens,
  };
  const fallback = logLines().find((line) => line.includes("Falling back to estimation heuristic"));
  if (fallback !== undefined) throw new ChildFailure("failed", fallback);
  // A header without words has no tables, and node-llama-cpp would end the process over it.
  if (request.withVocabulary && hasVocabulary(info))
    await llama.loadModel({ modelPath: file, vocabOnly: true, useMmap });
  return done;
}

function hasVocabulary({ metadata }: GgufFileInfo): boolean {
  const kind = metadata.tokenizer?.ggml?.model;
  return typeof kind === "string" && kind !== "no_vocab" && kind !== "none";
}

const sum = ({ cpuRam, gpuVram }: Requirements): number => cpuRam + gpuVram;
