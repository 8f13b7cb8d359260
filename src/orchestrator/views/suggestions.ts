import type { ModelSuggestion } from "../api/facade.ts";
import type { InstalledModel } from "../api/types.ts";
import {
  type SuggestionMachine,
  activeBytesOf,
  describeDownload,
  expectedTokensPerSecond,
  firstModel,
  observedBandwidth,
  suggestModels,
  suggestVisionModel,
} from "../routing/first-models.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import type { Observations } from "../residency/observations.ts";
import type { MemoryProbe, MemorySample } from "../memory/measure/probe.ts";
import type { EnginePolls } from "../catalog/engine-polls.ts";
import { idOf } from "../catalog/located-model.ts";

/** Models to pull, for this machine as it is now. */
export interface Suggestions {
  models(): Promise<ModelSuggestion>;
  /** What a pull of this name downloads and needs here; undefined for models that are never suggested. */
  download(name: string): Promise<string | undefined>;
  /** A model that reads images and that an engine here runs. */
  vision(): Promise<string | undefined>;
  /** For one list: the machine is looked at once, when the first speed is asked for. */
  speeds(): ExpectedSpeed;
}

/** Expected decode speed of an installed model, tokens/s; undefined if it may run on a card or another machine. */
export type ExpectedSpeed = (
  engine: Pick<Engine, "usesCards" | "memoryDomain">,
  model: Pick<InstalledModel, "name" | "sizeBytes">,
) => Promise<number | undefined>;

export interface SuggestionSource {
  readonly polls: Pick<EnginePolls, "engines" | "lastList">;
  readonly observations: Observations;
  readonly probe: MemoryProbe;
  readonly memory: Settings["memory"];
  /** Effective bandwidth of main memory, bytes per second; undefined if it could not be measured. */
  readonly ramBandwidth?: () => Promise<number | undefined>;
}

/** An Ollama that does not respond within this time is left out. */
const patienceMs = 2_000;

export function createSuggestions(source: SuggestionSource): Suggestions {
  const { polls, probe } = source;

  async function machine(): Promise<SuggestionMachine> {
    const [sample, hasOllama] = await Promise.all([probe.sample(), hasLocalServer()]);
    return {
      availableBytes: source.memory.availableBytes ?? sample.availableBytes,
      bufferBytes: source.memory.bufferBytes,
      ramBytesPerSecond: await bandwidthOf(sample),
      // The embedded engine computes on the processor.
      cards: hasOllama ? sample.gpus : [],
      hasOllama,
    };
  }

  /** Whether a server of this machine responds that can pull models, as only Ollama does. */
  async function hasLocalServer(): Promise<boolean> {
    const local = polls.engines.filter(
      ({ library, isPrivate, memoryDomain }) => library !== undefined && isPrivate !== true && memoryDomain === "local",
    );
    const healths = await Promise.all(local.map((engine) => engine.health(AbortSignal.timeout(patienceMs))));
    return healths.some(({ isReachable }) => isReachable);
  }

  const bandwidthOf = async (sample: MemorySample) => observed(sample) ?? (await source.ramBandwidth?.());

  /** The best bandwidth that models in main memory reached. */
  function observed(sample: MemorySample): number | undefined {
    const engines = polls.engines.filter((engine) => computesOnProcessor(engine, sample));
    return observedBandwidth(
      engines.flatMap((engine) =>
        polls.lastList(engine).flatMap((model) => {
          const { tokensPerSecond } = source.observations.of(idOf({ engine, model }));
          return tokensPerSecond === undefined ? [] : [{ tokensPerSecond, activeBytes: activeBytesOf(model) }];
        }),
      ),
    );
  }

  return {
    models: async () => suggestModels(await machine()),
    download: async (name) => (firstModel(name) === undefined ? undefined : describeDownload(name, await machine())),
    vision: async () => suggestVisionModel(await machine()),
    speeds() {
      let sampled: Promise<MemorySample> | undefined;
      let bandwidth: Promise<number | undefined> | undefined;
      return async (engine, model) => {
        const sample = await (sampled ??= probe.sample());
        if (!computesOnProcessor(engine, sample)) return undefined;
        const bytesPerSecond = await (bandwidth ??= bandwidthOf(sample));
        const activeBytes = activeBytesOf(model);
        if (activeBytes === undefined || bytesPerSecond === undefined) return undefined;
        return expectedTokensPerSecond(bytesPerSecond, activeBytes);
      };
    },
  };
}

/** One that may use cards does where there is none. */
function computesOnProcessor(
  { usesCards, memoryDomain }: Pick<Engine, "usesCards" | "memoryDomain">,
  { gpus }: MemorySample,
) {
  return usesCards !== true || (memoryDomain === "local" && gpus.length === 0);
}
