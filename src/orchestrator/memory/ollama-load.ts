import type { ModelFacts } from "../types.ts";
import type { CacheType, LoadShape } from "./cache.ts";

/** What of an Ollama server's environment decides how it loads; its API doesn't tell. */
export interface OllamaServerOptions {
  /** `OLLAMA_NUM_PARALLEL` */
  readonly parallel: number;
  /** `OLLAMA_KV_CACHE_TYPE` */
  readonly cacheType: CacheType;
  /** `OLLAMA_FLASH_ATTENTION`; on by itself where the hardware can. */
  readonly hasFlashAttention: boolean;
}

export const usualOllamaServer: OllamaServerOptions = { parallel: 1, cacheType: "f16", hasFlashAttention: true };

/**
 * How Ollama would load a model (`server/sched.go`, `llm/llama_server.go` of 0.33): the context is cut to what the model
 * was trained for, `num_batch` is the model's own parameter or follows from the total context. Where memory is short it
 * takes a smaller batch; the larger one is the careful guess.
 */
export function ollamaLoad(
  facts: Pick<ModelFacts, "contextTokens" | "capabilities" | "parameters">,
  contextTokens: number,
  server: OllamaServerOptions = usualOllamaServer,
): LoadShape {
  const own = Math.min(contextTokens, facts.contextTokens ?? contextTokens);
  const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
  const total = own * server.parallel;
  const stated = facts.parameters?.["num_batch"];
  const batchTokens = typeof stated === "number" && stated > 0 ? stated : automaticBatch(total, isEmbedding);
  return { contextTokens: own, batchTokens: Math.min(batchTokens, total), ...server };
}

/** `generationBatchForContext` and `DefaultEmbeddingNumBatch`. */
export function automaticBatch(totalContextTokens: number, isEmbedding: boolean): number {
  if (isEmbedding) return Math.min(2_048, totalContextTokens);
  return totalContextTokens > 32_768 ? 2_048 : totalContextTokens > 4_096 ? 1_024 : 512;
}
