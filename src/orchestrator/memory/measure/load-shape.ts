import { batchTokens } from "../../engines/llama-cpp/load-request.ts";
import type { LoadShape } from "../cache.ts";
import { ollamaLoad } from "../ollama-load.ts";
import type { Engine } from "../../engines/engine.ts";
import type { ModelFacts } from "../../api/types.ts";

/** How an engine would load a model for one conversation with this context; undefined if that isn't known. */
export function loadShapeOf(
  { kind, serverOptions }: Pick<Engine, "kind" | "serverOptions">,
  facts: ModelFacts,
  contextTokens: number,
): LoadShape | undefined {
  if (kind === "ollama") return ollamaLoad(facts, contextTokens, serverOptions);
  if (kind === "llama-cpp")
    return { contextTokens, parallel: 1, batchTokens, cacheType: "f16", hasFlashAttention: true };
  return undefined;
}
