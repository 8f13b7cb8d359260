import { readProcessMemory } from "../children-list.ts";
import { ChildFailure } from "./failure.ts";
import { collectGarbage } from "./load.ts";
import type { GgufFileInfo, Llama, NodeLlamaCpp, Requirements } from "./node-llama-cpp.ts";
import { type EstimateDone, type EstimateRequest, cacheTypeNumbers } from "./protocol.ts";

/** llama.cpp rounds the size of a context up to a multiple of this. */
const stepTokens = 256;

/**
 * Optionally loads only the vocabulary, to measure what a model takes besides its buffers (tokenizer tables, header), then
 * runs llama.cpp's allocator without allocating. In this order, because the allocator leaves more garbage than the tables
 * take. Requires a new process for each model. Throws when the library fell back to its own heuristics, which are not a
 * simulation.
 */
export async function estimate(
  library: NodeLlamaCpp,
  llama: Llama,
  request: EstimateRequest,
  logLines: () => readonly string[],
): Promise<EstimateDone> {
  const { file, useMmap, isEmbedding, hasFlashAttention } = request;
  const vocabularyBytes = request.withVocabulary ? await vocabularyOf(library, llama, request) : undefined;
  const info = await readHeader(library, file);
  const insights = await library.GgufInsights.from(info, llama);
  // Like a load: all layers are on the GPU if there is one.
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
  // The smallest context with the same batch: besides its small cache it takes only compute.
  const batchPerSequence = Math.ceil(request.batchTokens / request.sequences);
  const smallestContextTokens = Math.max(1, Math.ceil(batchPerSequence / stepTokens)) * stepTokens;
  const weightsBytes = sum(await insights.estimateModelResourceRequirementsV2({ gpuLayers, useMmap }));
  const done = {
    weightsBytes,
    contextBytes: await contextBytes(request.contextTokens),
    smallestContextBytes: await contextBytes(smallestContextTokens),
    smallestContextTokens,
    ...(vocabularyBytes === undefined ? {} : { vocabularyBytes }),
  };
  const fallback = logLines().find((line) => line.includes("Falling back to estimation heuristic"));
  if (fallback !== undefined) throw new ChildFailure("failed", fallback);
  return done;
}

const readHeader = (library: NodeLlamaCpp, file: string): Promise<GgufFileInfo> =>
  library.readGgufFileInfo(file, { logWarnings: false, sourceType: "filesystem" });

/** Returns the memory of the vocabulary; undefined where the system doesn't report a process's memory. */
async function vocabularyOf(
  library: NodeLlamaCpp,
  llama: Llama,
  { file, useMmap }: EstimateRequest,
): Promise<number | undefined> {
  const base = await readProcessMemory(process.pid);
  // A header without a vocabulary has no tables, and would crash node-llama-cpp.
  if (hasVocabulary(await readHeader(library, file)))
    await llama.loadModel({ modelPath: file, vocabOnly: true, useMmap });
  collectGarbage();
  const grown = await readProcessMemory(process.pid);
  return base && grown ? Math.max(0, grown.anonymousBytes - base.anonymousBytes) : undefined;
}

function hasVocabulary({ metadata }: GgufFileInfo): boolean {
  const kind = metadata.tokenizer?.ggml?.model;
  return typeof kind === "string" && kind !== "no_vocab" && kind !== "none";
}

const sum = ({ cpuRam, gpuVram }: Requirements): number => cpuRam + gpuVram;
