import { LoadFailed, UnknownModel } from "../../api/errors.ts";
import { isCloudName, sameModel } from "../../util/model-name.ts";
import type { InstalledModel, ModelFacts, Trust } from "../../api/types.ts";
import { controlCall, type OllamaTimeouts } from "./context.ts";
import { installedModel, modelFacts, modelsOf } from "./facts.ts";
import type { OllamaHost } from "../../util/ollama-host.ts";
import type { Transport } from "./transport.ts";

/** Model lookups, uncached. */
export interface OllamaModels {
  /** Calls `/api/tags`. */
  list(signal: AbortSignal): Promise<readonly InstalledModel[]>;
  /** Calls `/api/show` and returns the raw reply. Throws `UnknownModel`. */
  show(model: string, signal: AbortSignal): Promise<unknown>;
  /** Throws `UnknownModel`, also for a cloud model that isn't listed. */
  describe(model: string, signal: AbortSignal): Promise<ModelFacts>;
}

/** Ten thousand tensors take 800 kB, the rest of a real description about ten. */
const maxDescriptionBytes = 1_000_000;

export function createModels(
  host: OllamaHost,
  trust: Trust,
  transport: Transport,
  timeouts: OllamaTimeouts,
): OllamaModels {
  const list = async (signal: AbortSignal): Promise<readonly InstalledModel[]> => {
    const exchange = controlCall(timeouts, "listing models");
    const rows = await transport.exchange(exchange, signal, async ({ ollama }) => modelsOf(await ollama.list()));
    return rows.map((row) => installedModel(row, trust));
  };

  const show = (model: string, signal: AbortSignal): Promise<unknown> =>
    transport.exchange(
      { ...controlCall(timeouts, `describing ${model}`, model, LoadFailed), maxReplyBytes: maxDescriptionBytes },
      signal,
      ({ ollama }) => ollama.show({ model }),
    );

  return {
    list,
    show,
    async describe(model, signal) {
      // Ollama would ask its cloud about such a name, installed or not, and the name must not leave this machine.
      const [models, shown] = await Promise.all([list(signal), isCloudName(model) ? undefined : show(model, signal)]);
      const installed = models.find(({ name }) => sameModel(name, model));
      if (!installed && shown === undefined)
        throw new UnknownModel(`Ollama at ${host.label} has no model ${model}`, {
          next: [{ step: "pullModel", model }, { step: "listModels" }],
        });
      return modelFacts(model, shown, installed, installed?.trust ?? trust);
    },
  };
}
