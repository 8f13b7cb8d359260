import { setTimeout as delay } from "node:timers/promises";
import {
  GenerationFailed,
  LoadFailed,
  PromptTooLong,
  UnknownModel,
  UnloadUnconfirmed,
  UnsupportedCapability,
} from "../../api/errors.ts";
import { type NextStep, advice } from "../../api/next-step.ts";
import { isCloudName, sameModel } from "../../util/model-name.ts";
import type { EngineEmbedding, EngineResidency, LoadOptions, LoadRules, ResidentModel } from "../engine.ts";
import { embeddedTokens } from "../generation.ts";
import { controlCall, longCall } from "./transport.ts";
import { type OllamaContext, modelsOf, residentModel, weightsOf } from "./facts.ts";
import { noTruncation } from "./generate.ts";
import { defined } from "../../util/defined.ts";

/** Interval between two polls of `/api/ps`; an unload takes a few of them. */
const pollMs = 25;

/** Loads, unloads and lists loaded models, including those that other programs loaded. */
export function createResidency(context: OllamaContext): Omit<EngineResidency, keyof LoadRules> {
  const { transport, timeouts } = context;

  const loaded = async (signal: AbortSignal): Promise<readonly ResidentModel[]> => {
    const reply = await transport.exchange(controlCall(timeouts, "listing loaded models"), signal, ({ ollama }) =>
      ollama.ps(),
    );
    return modelsOf(reply)
      .map(residentModel)
      .filter(({ name }) => !isCloudName(name));
  };

  const empty = (model: string, options: LoadOptions) => ({
    model,
    ...noTruncation,
    ...defined({ keep_alive: options.keepAliveSeconds }),
    options: { num_ctx: options.contextTokens },
  });

  return {
    loaded,

    async load(model, options, report, signal) {
      if (isCloudName(model))
        throw new UnsupportedCapability(`${model} runs in Ollama's cloud and is not loaded on this machine`, {
          next: advice("generate with it directly, with remote models allowed"),
        });
      const before = await loaded(signal);
      report({ message: `loading ${model}` });
      const startedAt = context.now();
      const exchange = longCall(timeouts, `loading ${model}`, model, LoadFailed);
      try {
        await transport.exchange(exchange, signal, ({ ollama }) =>
          ollama.generate({ ...empty(model, options), prompt: "", stream: false }),
        );
      } catch (error) {
        // Embedding-only models can't generate; an embedding without inputs loads them.
        if (!(error instanceof UnsupportedCapability)) throw error;
        await transport.exchange(exchange, signal, ({ ollama }) =>
          ollama.embed({ ...empty(model, options), input: [] }),
        );
      }
      const loadMs = context.now() - startedAt;
      const resident = await loadedInstanceOf(context, model, await loaded(signal), signal);
      if (!resident)
        throw new LoadFailed(
          `Ollama loaded ${model} and unloaded it again, probably for another program (OLLAMA_MAX_LOADED_MODELS)`,
          {
            next: { step: "retry" },
          },
        );
      const wasLoaded = before.some(
        ({ name, contextTokens }) => name === resident.name && contextTokens === resident.contextTokens,
      );
      return { ...resident, name: model, ...(wasLoaded ? {} : { loadMs }) };
    },

    // Only by the name in `/api/ps`: an instance under another name of the same weights was not loaded by us.
    async unload(model, signal) {
      const isThere = async (): Promise<boolean> => (await loaded(signal)).some(({ name }) => sameModel(name, model));
      if (isCloudName(model) || !(await isThere())) return;
      let reason = "another program is probably using it";
      let next: NextStep = { step: "retry" };
      try {
        await transport.exchange(controlCall(timeouts, `unloading ${model}`, model), signal, ({ ollama }) =>
          ollama.generate({ model, prompt: "", keep_alive: 0, stream: false }),
        );
      } catch (error) {
        // Deleted while it was loaded: Ollama no longer accepts its name, and unloads it when its keep-alive ends.
        if (!(error instanceof UnknownModel)) throw error;
        reason = "it was deleted or damaged while it was loaded, so Ollama can't unload it by name";
        next = advice("wait until its keep-alive ends, or restart Ollama");
        context.log.warn(`ollama: ${model} was deleted while loaded: it is unloaded when its keep-alive ends`);
      }
      const deadline = context.now() + timeouts.unloadMs;
      while (await isThere()) {
        if (context.now() >= deadline)
          throw new UnloadUnconfirmed(
            `${model} is still in memory ${timeouts.unloadMs / 1_000} s after it was unloaded: ${reason}`,
            { next },
          );
        // Ends early when aborted; the next exchange then rejects with `Cancelled`.
        await delay(pollMs, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}

/** Returns the loaded instance of a model. Ollama lists it only once, possibly under another name of the same weights. */
async function loadedInstanceOf(
  { models }: Pick<OllamaContext, "models">,
  model: string,
  residents: readonly ResidentModel[],
  signal: AbortSignal,
): Promise<ResidentModel | undefined> {
  const named = residents.find(({ name }) => sameModel(name, model));
  if (named !== undefined || residents.length === 0) return named;
  const wanted = weightsOf(await models.show(model, signal));
  for (const resident of residents) {
    // A model that was deleted while loaded can't be described.
    const shown = await models.show(resident.name, signal).catch((error: unknown) => {
      if (error instanceof UnknownModel) return undefined;
      throw error;
    });
    if (wanted !== undefined && weightsOf(shown) === wanted) return resident;
  }
  return undefined;
}

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
        return { vectors, promptTokens: embeddedTokens(inputs, reply.prompt_eval_count) };
      } catch (error) {
        // Ollama's own words, which nothing else of its reply tells apart.
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
