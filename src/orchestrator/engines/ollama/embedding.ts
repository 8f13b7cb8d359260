import { GenerationFailed, PromptTooLong, UnsupportedCapability } from "../../errors.ts";
import { advice } from "../../next-step.ts";
import type { EngineEmbedding, EngineResidency } from "../engine.ts";
import { lasting, type OllamaContext } from "./context.ts";
import { holderOf } from "./residency.ts";

/** Size of one vector in JSON: 16,384 numbers. */
const maxVectorBytes = 400_000;
const maxFrameBytes = 100_000;

/** Vectors from any model that Ollama can embed with. */
export function createEmbedding(context: OllamaContext, residency: EngineResidency): EngineEmbedding {
  return {
    async embed(model, inputs, signal) {
      if (inputs.length === 0) return { vectors: [], promptTokens: 0 };
      const [facts, residents] = await Promise.all([context.models.describe(model, signal), residency.loaded(signal)]);
      // Ollama would refuse only after it has loaded the model anew, in the place of the one that answers chats.
      if (!facts.capabilities.includes("embedding"))
        throw new UnsupportedCapability(
          `${model} can't embed: it can do ${facts.capabilities.join(", ") || "nothing"}`,
          {
            next: [
              { step: "listModels", capability: "embedding" },
              { step: "pullModel", model: "all-minilm", because: "a small embedding model" },
            ],
          },
        );
      // Without its own context size in the request a loaded model would be loaded again with the server's default.
      const resident = await holderOf(context, model, residents, signal);
      const maxReplyBytes = maxFrameBytes + inputs.length * maxVectorBytes;
      const exchange = lasting(context.timeouts, `embedding with ${model}`, model, GenerationFailed, maxReplyBytes);
      try {
        const reply = await context.transport.exchange(exchange, signal, ({ ollama }) =>
          ollama.embed({
            model,
            input: [...inputs],
            truncate: false,
            ...(resident?.contextTokens === undefined ? {} : { options: { num_ctx: resident.contextTokens } }),
          }),
        );
        const vectors = reply.embeddings;
        if (!Array.isArray(vectors) || vectors.length !== inputs.length)
          throw new GenerationFailed(`Ollama answered ${vectors?.length ?? 0} vectors for ${inputs.length} texts`);
        return { vectors, promptTokens: reply.prompt_eval_count ?? 0 };
      } catch (error) {
        if (!(error instanceof GenerationFailed && /input length exceeds/.test(error.message))) throw error;
        throw await tooLong(model, inputs, signal, error);
      }
    },
  };

  /** Ollama gives no numbers here: the window is what it now has loaded, the text's length is estimated. */
  async function tooLong(
    model: string,
    inputs: readonly string[],
    signal: AbortSignal,
    cause: unknown,
  ): Promise<Error> {
    const resident = await holderOf(context, model, await residency.loaded(signal), signal);
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
