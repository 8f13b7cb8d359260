import { GenerationFailed, PromptTooLong, UnsupportedCapability } from "../../api/errors.ts";
import { advice } from "../../api/next-step.ts";
import type { EngineEmbedding, EngineResidency } from "../engine.ts";
import { longCall } from "./context.ts";
import type { OllamaContext } from "./facts.ts";
import { loadedInstanceOf } from "./residency.ts";

/** One vector as JSON: 16,384 numbers. */
const maxVectorBytes = 400_000;
const maxFrameBytes = 100_000;

/** Embeddings from any model that Ollama lists with that capability. */
export function createEmbedding(context: OllamaContext, residency: Pick<EngineResidency, "loaded">): EngineEmbedding {
  return {
    async embed(model, inputs, signal, loadedTokens) {
      if (inputs.length === 0) return { vectors: [], promptTokens: 0 };
      // Without its context size in the request, a loaded model would be reloaded with the server's default.
      const contextTokens = loadedTokens ?? (await contextOf(model, signal));
      const maxReplyBytes = maxFrameBytes + inputs.length * maxVectorBytes;
      const exchange = longCall(context.timeouts, `embedding with ${model}`, model, GenerationFailed, maxReplyBytes);
      try {
        const reply = await context.transport.exchange(exchange, signal, ({ ollama }) =>
          ollama.embed({
            model,
            input: [...inputs],
            truncate: false,
            ...(contextTokens === undefined ? {} : { options: { num_ctx: contextTokens } }),
          }),
        );
        const vectors = reply.embeddings;
        if (!Array.isArray(vectors) || vectors.length !== inputs.length)
          throw new GenerationFailed(`Ollama returned ${vectors?.length ?? 0} vectors for ${inputs.length} texts`);
        return { vectors, promptTokens: reply.prompt_eval_count ?? 0 };
      } catch (error) {
        if (!(error instanceof GenerationFailed && /input length exceeds/.test(error.message))) throw error;
        throw await tooLong(model, inputs, signal, error);
      }
    },
  };

  /** The context of the loaded instance, if there is one. Throws `UnsupportedCapability`. */
  async function contextOf(model: string, signal: AbortSignal): Promise<number | undefined> {
    const [facts, residents] = await Promise.all([context.models.describe(model, signal), residency.loaded(signal)]);
    // Ollama would reject the request only after it has reloaded the model, replacing the instance that answers chats.
    if (!facts.capabilities.includes("embedding"))
      throw new UnsupportedCapability(
        `${model} does not support embeddings (its capabilities: ${facts.capabilities.join(", ") || "none"})`,
        {
          next: [
            { step: "listModels", capability: "embedding" },
            { step: "pullModel", model: "all-minilm", because: "a small embedding model" },
          ],
        },
      );
    return (await loadedInstanceOf(context, model, residents, signal))?.contextTokens;
  }

  /** Ollama reports no numbers here: the window is that of the loaded model, the length of the text is estimated. */
  async function tooLong(
    model: string,
    inputs: readonly string[],
    signal: AbortSignal,
    cause: unknown,
  ): Promise<Error> {
    const resident = await loadedInstanceOf(context, model, await residency.loaded(signal), signal);
    const longest = Math.max(...inputs.map((input) => input.length));
    const contextTokens = resident?.contextTokens ?? 0;
    const promptTokens = Math.max(Math.ceil(longest / 4), contextTokens + 1);
    return new PromptTooLong(
      `the longest of ${inputs.length} texts has about ${promptTokens} tokens, and ${model} embeds at most ${contextTokens} at once`,
      { promptTokens, contextTokens, isExact: false },
      { next: advice("split the text into smaller pieces"), cause },
    );
  }
}
