import type { Engine } from "../engines/engine.ts";
import { calibrate, type ComputeCalibration } from "../memory/calibration.ts";
import { createLearnedSizes, learnedEstimate, type LearnedSizes } from "../memory/learned.ts";
import type { LoadShape } from "../memory/cache.ts";
import type { ModelDimensions } from "../memory/dimensions.ts";
import type { WeightBytes } from "../memory/predict.ts";
import { completeReading, computeObservation } from "../memory/reading.ts";
import type { MemoryEstimate, ResidentModel } from "../types.ts";

/** What the formula needs of one model, kept so that a size seen later can be explained. */
export interface Explained {
  readonly dimensions: ModelDimensions;
  readonly weights: WeightBytes;
  readonly loadFor: (contextTokens: number) => LoadShape;
}

/** Learns from the sizes that an engine reports; forgotten with the engine, because another address is another host. */
export interface Learning {
  /** The version that `engine` says it is, asked for once a minute; `unknown` when it doesn't answer. */
  versionOf(engine: Engine, signal: AbortSignal): Promise<string>;
  /** Whether any size was reported, on whatever version. */
  hasObserved(engine: Engine): boolean;
  explain(engine: Engine, digest: string, explained: Explained): void;
  observe(engine: Engine, version: string, residents: readonly ResidentModel[]): void;
  calibration(engine: Engine, version: string): ComputeCalibration;
  /** The size of exactly this load as it was last reported. */
  learned(
    engine: Engine,
    version: string,
    digest: string,
    contextTokens: number,
    computed: MemoryEstimate | undefined,
  ): MemoryEstimate | undefined;
}

const versionMs = 60_000;

interface HostState {
  readonly sizes: LearnedSizes;
  readonly explained: Map<string, Explained>;
  version: { readonly value: Promise<string>; readonly atMs: number } | undefined;
}

export function createLearning(now: () => number): Learning {
  const hosts = new WeakMap<Engine, HostState>();
  const hostOf = (engine: Engine): HostState => {
    const known = hosts.get(engine) ?? { sizes: createLearnedSizes(), explained: new Map(), version: undefined };
    hosts.set(engine, known);
    return known;
  };
  /** Sequences that a load has are the engine's affair and the same for all its loads, so far. */
  const keyOf = (engine: Engine, digest: string, contextTokens: number) => ({
    host: engine.id,
    digest,
    contextTokens,
    parallel: hostOf(engine).explained.get(digest)?.loadFor(contextTokens).parallel ?? 1,
  });

  return {
    async versionOf(engine, signal) {
      const host = hostOf(engine);
      if (host.version === undefined || Math.abs(now() - host.version.atMs) > versionMs) {
        const value = engine.health(signal).then(({ version }) => version ?? "unknown");
        host.version = { value, atMs: now() };
        // Nobody is left with a version that wasn't answered.
        void value.then((answer) => {
          if (answer === "unknown" && host.version?.value === value) host.version = undefined;
        });
      }
      return await host.version.value;
    },
    hasObserved: (engine) => hostOf(engine).sizes.isSome(engine.id),
    explain: (engine, digest, explained) => void hostOf(engine).explained.set(digest, explained),
    observe(engine, version, residents) {
      for (const { digest, contextTokens, sizeBytes } of residents) {
        if (digest === undefined || contextTokens === undefined) continue;
        hostOf(engine).sizes.observe(keyOf(engine, digest, contextTokens), version, sizeBytes);
      }
    },
    calibration(engine, version) {
      const { sizes, explained } = hostOf(engine);
      return calibrate(
        sizes.readings(engine.id, version).flatMap(({ digest, contextTokens, sizeBytes }) => {
          const model = explained.get(digest);
          if (model === undefined) return [];
          const { dimensions, weights } = model;
          const load = model.loadFor(contextTokens);
          const bytes = completeReading(dimensions, load, weights, sizeBytes);
          return [computeObservation(dimensions, load, weights, bytes)];
        }),
      );
    },
    learned(engine, version, digest, contextTokens, computed) {
      const sizeBytes = hostOf(engine).sizes.find(keyOf(engine, digest, contextTokens), version);
      const model = hostOf(engine).explained.get(digest);
      if (sizeBytes === undefined || model === undefined) return undefined;
      const { dimensions, weights, loadFor } = model;
      return learnedEstimate(completeReading(dimensions, loadFor(contextTokens), weights, sizeBytes), computed);
    },
  };
}
