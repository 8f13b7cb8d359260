import { setTimeout as delay } from "node:timers/promises";
import { LoadFailed, UnknownModel, UnloadUnconfirmed, UnsupportedCapability } from "../../errors.ts";
import { advice, type NextStep } from "../../next-step.ts";
import type { ResidentModel } from "../../types.ts";
import type { EngineResidency, LoadOptions } from "../engine.ts";
import { control, lasting, type OllamaContext } from "./context.ts";
import { modelsOf, residentModel, weightsOf } from "./facts.ts";
import { noSilentCut } from "./generate.ts";
import { isCloudName, sameModel } from "../../store/model-name.ts";

/** `/api/ps` is asked again after this; an unload takes Ollama a few of them. */
const pollMs = 25;

/** Loading, unloading and what is loaded, by other programs too. */
export function createResidency(context: OllamaContext): EngineResidency {
  const { transport, timeouts } = context;

  const loaded = async (signal: AbortSignal): Promise<readonly ResidentModel[]> => {
    const reply = await transport.exchange(control(timeouts, "asking what is loaded"), signal, ({ ollama }) =>
      ollama.ps(),
    );
    return modelsOf(reply)
      .map(residentModel)
      .filter(({ name }) => !isCloudName(name));
  };

  const empty = (model: string, options: LoadOptions) => ({
    model,
    ...noSilentCut,
    ...(options.keepAliveSeconds === undefined ? {} : { keep_alive: options.keepAliveSeconds }),
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
      const exchange = lasting(timeouts, `loading ${model}`, model, LoadFailed);
      try {
        await transport.exchange(exchange, signal, ({ ollama }) =>
          ollama.generate({ ...empty(model, options), prompt: "", stream: false }),
        );
      } catch (error) {
        // Embedding-only models refuse to generate; an embedding of nothing loads them.
        if (!(error instanceof UnsupportedCapability)) throw error;
        await transport.exchange(exchange, signal, ({ ollama }) =>
          ollama.embed({ ...empty(model, options), input: [] }),
        );
      }
      const loadMs = context.now() - startedAt;
      const resident = await holderOf(context, model, await loaded(signal), signal);
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

    // By the name that `/api/ps` shows: a slot that another name of the same weights holds is not ours to take.
    async unload(model, signal) {
      const isThere = async (): Promise<boolean> => (await loaded(signal)).some(({ name }) => sameModel(name, model));
      if (isCloudName(model) || !(await isThere())) return;
      let reason = "another program is probably using it";
      let next: NextStep = { step: "retry" };
      try {
        await transport.exchange(control(timeouts, `unloading ${model}`, model), signal, ({ ollama }) =>
          ollama.generate({ model, prompt: "", keep_alive: 0, stream: false }),
        );
      } catch (error) {
        // Deleted while it was loaded: it can't be named any more, and goes when its time is up.
        if (!(error instanceof UnknownModel)) throw error;
        reason = "it was deleted or damaged while it was loaded, so Ollama can't unload it by name";
        next = advice("wait until its keep-alive ends, or restart Ollama");
        context.log.warn(`${model} is loaded in Ollama but was deleted there: it is unloaded when its keep-alive ends`);
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

/** Its slot, which another name of the same weights may hold: Ollama then lists that one only. */
export async function holderOf(
  { models }: Pick<OllamaContext, "models">,
  model: string,
  residents: readonly ResidentModel[],
  signal: AbortSignal,
): Promise<ResidentModel | undefined> {
  const named = residents.find(({ name }) => sameModel(name, model));
  if (named !== undefined || residents.length === 0) return named;
  const wanted = weightsOf(await models.show(model, signal));
  for (const resident of residents) {
    // One that was deleted while it is loaded can't be described.
    const shown = await models.show(resident.name, signal).catch((error: unknown) => {
      if (error instanceof UnknownModel) return undefined;
      throw error;
    });
    if (wanted !== undefined && weightsOf(shown) === wanted) return resident;
  }
  return undefined;
}
