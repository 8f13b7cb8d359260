import type { LoadShape, ModelFacts, OllamaServerOptions } from "../../api/types.ts";
import type { LoadRules, ModelProcess } from "../engine.ts";

/** How an Ollama server with these options loads models and makes room for them. */
export function ollamaLoadRules(stated?: Partial<OllamaServerOptions>): LoadRules {
  const serverOptions = { ...usualServer, ...stated };
  // Every choice of a model asks for the processes of all.
  const processes = new WeakMap<ModelFacts, ModelProcess | undefined>();
  return {
    serverOptions,
    evictsByKeepAlive: true,
    loadShape: (facts, contextTokens) => loadShape(facts, contextTokens, serverOptions),
    schedulerBytes,
    processOf(facts) {
      if (!processes.has(facts)) processes.set(facts, processOf(facts));
      return processes.get(facts);
    },
  };
}

function processOf({ weightsDigest, attachedDigests = [], parameters = {} }: ModelFacts): ModelProcess | undefined {
  if (weightsDigest === undefined) return undefined;
  const options = runnerOptions.map((option) => parameters[option] ?? null);
  return { slot: `sha256:${weightsDigest}`, runner: JSON.stringify([weightsDigest, attachedDigests, options]) };
}

/** Options of Ollama's `Runner` that a model can set; the context is part of every request. */
const runnerOptions = ["num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"];

const usualServer: OllamaServerOptions = { parallel: 1, cacheType: "f16", hasFlashAttention: true };

/** Architectures that Ollama always loads with one sequence, regardless of its environment. */
const sequential: ReadonlySet<string> = new Set(
  `mllama qwen3vl qwen3vlmoe qwen35 qwen35moe qwen3next lfm2 lfm2moe nemotron_h nemotron_h_moe nemotron_h_omni`.split(
    " ",
  ),
);

/**
 * How Ollama would load a model (`server/sched.go`, `llm/llama_server.go` of 0.33): the context is limited to the
 * model's trained context, `num_batch` is the model's own parameter or follows from the total context, embedding models
 * have one sequence. If memory is short it uses a smaller batch; the larger one is assumed here.
 */
function loadShape(
  facts: Pick<ModelFacts, "contextTokens" | "capabilities" | "parameters" | "architecture">,
  contextTokens: number,
  server: OllamaServerOptions,
): LoadShape {
  const own = Math.min(contextTokens, facts.contextTokens ?? contextTokens);
  const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
  const parallel = isEmbedding || sequential.has(facts.architecture ?? "") ? 1 : server.parallel;
  const total = own * parallel;
  const stated = facts.parameters?.["num_batch"];
  const batchTokens = typeof stated === "number" && stated > 0 ? stated : automaticBatch(total, isEmbedding);
  return { contextTokens: own, batchTokens: Math.min(batchTokens, total), ...server, parallel };
}

/**
 * What Ollama's scheduler predicts for a load (`PredictServerVRAM`): the file and a full cache in F16 on all layers,
 * also where the window is sliding or the cache is quantised.
 */
function schedulerBytes(
  { sizeBytes, layerCount = 0, embeddingLength = 0, parameters, architecture, metadata = {} }: ModelFacts,
  { contextTokens, parallel }: Pick<LoadShape, "contextTokens" | "parallel">,
): number {
  const counts = (key: string): readonly number[] =>
    [metadata[`${architecture}.attention.${key}`]].flat().filter((value) => typeof value === "number");
  const heads = Math.max(0, ...counts("head_count"));
  const stated = counts("head_count_kv");
  const cacheHeads = stated.length === 0 ? 1 : Math.max(1, Math.min(...stated));
  const headLength = heads === 0 ? 0 : Math.floor(embeddingLength / heads);
  // Its automatic batch is made smaller until it fits.
  const batch = Number(parameters?.["num_batch"] ?? 0);
  const batchBytes = batch >= 2_048 ? 2 * 1024 ** 3 : batch >= 1_024 ? 768 * 1024 ** 2 : 0;
  return sizeBytes + 4 * layerCount * cacheHeads * headLength * contextTokens * parallel + batchBytes;
}

/** `generationBatchForContext` and `DefaultEmbeddingNumBatch`. */
function automaticBatch(totalContextTokens: number, isEmbedding: boolean): number {
  if (isEmbedding) return Math.min(2_048, totalContextTokens);
  return totalContextTokens > 32_768 ? 2_048 : totalContextTokens > 4_096 ? 1_024 : 512;
}
