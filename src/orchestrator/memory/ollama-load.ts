import type { ModelFacts, OllamaServerOptions } from "../types.ts";
import type { LoadShape } from "./cache.ts";

export const usualOllamaServer: OllamaServerOptions = { parallel: 1, cacheType: "f16", hasFlashAttention: true };

/** Architectures that Ollama gives one sequence, whatever its environment says. */
const sequential: ReadonlySet<string> = new Set(
  `mllama qwen3vl qwen3vlmoe qwen35 qwen35moe qwen3next lfm2 lfm2moe nemotron_h nemotron_h_moe nemotron_h_omni`.split(
    " ",
  ),
);

/**
 * How Ollama would load a model (`server/sched.go`, `llm/llama_server.go` of 0.33): the context is cut to what the model
 * was trained for, `num_batch` is the model's own parameter or follows from the total context, models that only embed
 * have one sequence. Where memory is short it takes a smaller batch; the larger one is the careful guess.
 */
export function ollamaLoad(
  facts: Pick<ModelFacts, "contextTokens" | "capabilities" | "parameters" | "architecture">,
  contextTokens: number,
  server: OllamaServerOptions = usualOllamaServer,
): LoadShape {
  const own = Math.min(contextTokens, facts.contextTokens ?? contextTokens);
  const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
  const parallel = isEmbedding || sequential.has(facts.architecture ?? "") ? 1 : server.parallel;
  const total = own * parallel;
  const stated = facts.parameters?.["num_batch"];
  const batchTokens = typeof stated === "number" && stated > 0 ? stated : automaticBatch(total, isEmbedding);
  return { contextTokens: own, batchTokens: Math.min(batchTokens, total), ...server, parallel };
}

/** `generationBatchForContext` and `DefaultEmbeddingNumBatch`. */
export function automaticBatch(totalContextTokens: number, isEmbedding: boolean): number {
  if (isEmbedding) return Math.min(2_048, totalContextTokens);
  return totalContextTokens > 32_768 ? 2_048 : totalContextTokens > 4_096 ? 1_024 : 512;
}
