import type { MemoryEstimate } from "../api/facade-status.ts";
import type { LoadShape } from "../api/types.ts";
import { type Engine, engineKey, type ResidentModel } from "../engines/engine.ts";
import { type ComputeCalibration, type ComputeObservation, calibrate } from "../memory/compute.ts";
import type { ModelDimensions } from "../memory/dimensions.ts";
import {
  type LoadKey,
  createLearnedSizes,
  learnedEstimate,
  completeReading,
  computeObservation,
} from "../memory/reading.ts";
import type { WeightBytes } from "../memory/predict.ts";
import type { KeptLearning } from "./kept-learning.ts";
import { defined } from "../util/defined.ts";

/** The inputs of the formula for one model, kept to derive its compute buffer from sizes reported later. */
export interface FormulaInputs {
  readonly dimensions: ModelDimensions;
  readonly weights: WeightBytes;
  readonly loadFor: (contextTokens: number) => LoadShape;
}

/** Learns from the sizes that engines report. Hosts are identified by address, not by the id of the engine. */
export type Learning = ReturnType<typeof createLearning>;

const versionMs = 60_000;

interface HostState {
  readonly inputs: Map<string, FormulaInputs>;
  version: { readonly value: Promise<string>; readonly atMs: number; answered?: string } | undefined;
}

export function createLearning(now: () => number, kept?: KeptLearning) {
  const hosts = new WeakMap<Engine, HostState>();
  const sizes = createLearnedSizes();
  /** By host and version; dropped when a new size is observed. */
  let calibrations = new Map<string, ComputeCalibration>();
  const hostKey = createHostKeys();
  let restored: Promise<void> | undefined;
  const hostOf = (engine: Engine): HostState => {
    const known = hosts.get(engine) ?? { inputs: new Map(), version: undefined };
    hosts.set(engine, known);
    return known;
  };
  const keyOf = (engine: Engine, version: string, digest: string, contextTokens: number): LoadKey | undefined => {
    const load = hostOf(engine).inputs.get(digest)?.loadFor(contextTokens) ?? engine.residency?.serverOptions;
    if (load === undefined) return undefined;
    const { parallel, cacheType } = load;
    return { host: hostKey(engine), version, digest, contextTokens, parallel, cacheType };
  };

  function observedCompute(engine: Engine, key: Omit<LoadKey, "host" | "version">, sizeBytes: number) {
    const model = hostOf(engine).inputs.get(key.digest);
    if (model === undefined) return undefined;
    const { dimensions, weights } = model;
    const load = model.loadFor(key.contextTokens);
    // The model may have been loaded with other parameters than the server's defaults.
    if (load.parallel !== key.parallel || load.cacheType !== key.cacheType) return undefined;
    return computeObservation(dimensions, load, weights, completeReading(dimensions, load, weights, sizeBytes));
  }

  return {
    /** Reads what earlier processes learned, once. Never rejects. */
    ready() {
      restored ??= (async () => {
        for (const reading of (await kept?.sizes()) ?? []) sizes.observe(reading);
        calibrations = new Map();
      })();
      return restored;
    },
    /** The version of `engine`, requested at most once a minute; `unknown` if it doesn't respond. */
    async versionOf(engine: Engine, signal: AbortSignal) {
      const host = hostOf(engine);
      if (host.version === undefined || Math.abs(now() - host.version.atMs) > versionMs) {
        const value = engine.health(signal).then(({ version }) => version ?? "unknown");
        const asked: HostState["version"] = { value, atMs: now() };
        if (host.version?.answered !== undefined) asked.answered = host.version.answered;
        host.version = asked;
        // A failed request is not cached.
        void value.then((answer) => {
          if (answer !== "unknown") asked.answered = answer;
          else if (host.version?.value === value) host.version = undefined;
        });
      }
      return await host.version.value;
    },
    /** The last known version. */
    lastVersion: (engine: Engine): string | undefined => hostOf(engine).version?.answered,
    /** Whether any size was reported, on any version. */
    hasObserved: (engine: Engine) => sizes.hasReadings(hostKey(engine)),
    noteInputs(engine: Engine, digest: string, inputs: FormulaInputs) {
      const known = hostOf(engine).inputs;
      if (!known.has(digest)) calibrations = new Map();
      known.set(digest, inputs);
    },
    observe(engine: Engine, version: string, residents: readonly ResidentModel[]) {
      for (const { digest, contextTokens, sizeBytes, reportedBytes = sizeBytes, vramBytes } of residents) {
        if (digest === undefined || contextTokens === undefined) continue;
        const key = keyOf(engine, version, digest, contextTokens);
        if (key === undefined) continue;
        const compute = observedCompute(engine, key, reportedBytes);
        const reading = { ...key, sizeBytes: reportedBytes, vramBytes, ...defined({ compute }) };
        if (!sizes.observe(reading)) continue;
        calibrations = new Map();
        // Without an address and a version it could not be identified after a restart.
        if (engine.address !== undefined && version !== "unknown") kept?.noteSize(reading);
      }
    },
    calibration(engine: Engine, version: string): ComputeCalibration {
      const server = engine.residency?.serverOptions;
      const key = JSON.stringify([hostKey(engine), version, server]);
      const known = calibrations.get(key);
      if (known !== undefined) return known;
      const made = calibrate(
        sizes.readings(hostKey(engine), version).flatMap((reading) => {
          // Observed with other server options.
          if (reading.parallel !== server?.parallel || reading.cacheType !== server.cacheType) return [];
          const observed: ComputeObservation | undefined =
            observedCompute(engine, reading, reading.sizeBytes) ?? reading.compute;
          return observed === undefined ? [] : [observed];
        }),
      );
      calibrations.set(key, made);
      return made;
    },
    /** The size last reported for exactly this load. */
    learned(
      engine: Engine,
      version: string,
      digest: string,
      contextTokens: number,
      computed: MemoryEstimate | undefined,
    ): MemoryEstimate | undefined {
      const key = keyOf(engine, version, digest, contextTokens);
      const reading = key && sizes.find(key);
      const model = hostOf(engine).inputs.get(digest);
      if (reading === undefined || model === undefined) return undefined;
      const { dimensions, weights, loadFor } = model;
      const sizeBytes = completeReading(dimensions, loadFor(contextTokens), weights, reading.sizeBytes);
      return learnedEstimate({ ...reading, sizeBytes }, computed);
    },
    /**
     * Whether all reported models were entirely in RAM, so that loads are planned in RAM even if the machine has cards.
     */
    usesNoCards(engine: Engine, version: string) {
      const readings = sizes.readings(hostKey(engine), version);
      return readings.length > 0 && readings.every(({ vramBytes }) => vramBytes === 0);
    },
  };
}

/**
 * Identifies the host of an engine by kind and address. An engine without an address gets a unique key, which is not
 * valid after a restart.
 */
function createHostKeys(): (engine: Engine) => string {
  const numbers = new WeakMap<Engine, number>();
  let last = 0;
  return (engine) => {
    const key = engineKey(engine);
    if (key !== undefined) return key;
    const number = numbers.get(engine) ?? (last += 1);
    numbers.set(engine, number);
    return `${engine.id} #${number}`;
  };
}
