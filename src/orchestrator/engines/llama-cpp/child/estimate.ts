import { ChildFailure } from "./failure.ts";
import type { Llama, NodeLlamaCpp, Requirements } from "./node-llama-cpp.ts";
import type { EstimateDone, EstimateRequest } from "./protocol.ts";

/** The smallest context llama.cpp makes; what it takes beyond its cache is compute. */
const smallestContextTokens = 256;

/**
 * Runs llama.cpp's allocator without allocating, then loads the vocabulary alone, so that the growth of this process
 * afterwards is what a model costs beside its buffers (tokenizer tables, headers). Use a fresh process for each model.
 * Throws when the library fell back to its own heuristics: they don't deserve the name *simulated*.
 */
export async function estimate(
  library: NodeLlamaCpp,
  llama: Llama,
  request: EstimateRequest,
  logLines: () => readonly string[],
): Promise<EstimateDone> {
  const info = await library.readGgufFileInfo(request.file, { logWarnings: false, sourceType: "filesystem" });
  const insights = await library.GgufInsights.from(info, llama);
  // Matches what loading does: all layers on the GPU's side where there is one.
  const gpuLayers = llama.gpu === false ? 0 : insights.totalLayers + 1;
  const contextBytes = async (contextTokens: number) =>
    sum(
      await insights.estimateContextResourceRequirementsV2({
        contextSize: contextTokens,
        modelGpuLayers: gpuLayers,
        batchSize: request.isEmbedding ? contextTokens : Math.min(request.batchTokens, contextTokens),
        sequences: request.isEmbedding ? 1 : request.sequences,
        isEmbeddingContext: request.isEmbedding,
        flashAttention: "auto",
        useMmap: request.useMmap,
      }),
    );
  const weightsBytes = sum(await insights.estimateModelResourceRequirementsV2({ gpuLayers, useMmap: request.useMmap }));
  const done = {
    weightsBytes,
    contextBytes: await contextBytes(request.contextTokens),
    smallestContextBytes: await contextBytes(smallestContextTokens),
    smallestContextTokens,
  };
  const fallback = logLines().find((line) => line.includes("Falling back to estimation heuristic"));
  if (fallback !== undefined) throw new ChildFailure("failed", fallback);
  await llama.loadModel({ modelPath: request.file, vocabOnly: true, useMmap: request.useMmap });
  return done;
}

const sum = ({ cpuRam, gpuVram }: Requirements): number => cpuRam + gpuVram;
