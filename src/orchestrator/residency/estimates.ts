import { Cancelled, OrchestratorError } from "../api/errors.ts";
import type { MemoryEstimate } from "../api/facade-status.ts";
import type { InstalledModel, ModelFacts, LoadShape } from "../api/types.ts";
import { overridesOf } from "../routing/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import { type Engine, engineKey, type ResidentModel } from "../engines/engine.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { LocatedModel, ModelReference } from "../catalog/located-model.ts";
import { dimensionsOf, type ModelDimensions } from "../memory/dimensions.ts";
import {
  computedEstimate,
  estimateBySize,
  weightBytesOf,
  residentPart,
  simulatedElsewhere,
  type WeightBytes,
} from "../memory/predict.ts";
import type { KeptLearning } from "./kept-learning.ts";
import { defined, getOrInsert } from "../util/values.ts";
import { type ComputeCalibration, calibrate } from "../memory/compute.ts";
import {
  createLearnedSizes,
  type LearnedReading,
  learnedEstimate,
  completeReading,
  computeObservation,
} from "../memory/reading.ts";

/** Predicts how much memory a model takes. */
export type Estimates = Pick<LoadEstimates, "of" | "quick">;

/** Estimates of a load from metadata, and from sizes that the engine reported. */
interface Described {
  readonly computed?: MemoryEstimate;
  readonly learned?: MemoryEstimate;
}

interface EstimateSource {
  /** Called on each use. */
  readonly settings: () => Settings;
  readonly inventory: Pick<Inventory, "engines" | "facts" | "knownFacts" | "lastResident">;
  /** Absent: what is learned is lost when this process ends. */
  readonly kept?: KeptLearning;
  readonly now: () => number;
}

export const createEstimates = (source: EstimateSource): Estimates => new LoadEstimates(source);

class LoadEstimates {
  readonly #source: EstimateSource;
  readonly #learning: ReturnType<typeof createLearning>;
  /** By engine: the one that takes its place when settings change may compute with something else. */
  readonly #simulations = new WeakMap<Engine, Map<string, MemoryEstimate>>();
  /** Simulated loads of other engines, by the same key; the estimate also depends on what is learned of them. */
  readonly #otherSimulations = new Map<string, Parameters<typeof simulatedElsewhere>[0]>();
  /** Also by engine: a new engine for the same server may have other server options. */
  readonly #inputsByFacts = new WeakMap<Engine, WeakMap<ModelFacts, FormulaInputs | undefined>>();

  constructor(source: EstimateSource) {
    this.#source = source;
    this.#learning = createLearning(source.now, source.kept);
  }

  /**
   * The same as `of` from cached data, without requests to the engine: for lists and routes. Without `at`, only the
   * configured size and the size rule.
   */
  readonly quick = (
    model: Pick<InstalledModel, "name" | "sizeBytes" | "digest" | "modifiedAt">,
    at?: { readonly engine: Engine; readonly contextTokens: number },
  ): MemoryEstimate =>
    this.#configured(model.name) ??
    (at && this.#known({ engine: at.engine, model }, at.contextTokens)) ??
    estimateBySize(model.sizeBytes, this.#source.settings().memory.bufferBytes);

  /**
   * The first available of: `models.<glob>.sizeBytes`; the size that the engine last reported for the same load; a
   * simulation by the allocator (the engine's own, or the embedded one if it can read the same weights; cached by
   * digest); the formula over the model's metadata; the size rule.
   */
  readonly of = async (located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<MemoryEstimate> => {
    const { engine, model } = located;
    const stated = this.#configured(model.name);
    if (stated !== undefined) return stated;
    // A reported size is better than any prediction.
    const reported = isLearned(engine) ? await this.#learnAndDescribe(located, contextTokens, signal) : undefined;
    if (reported?.learned !== undefined) return reported.learned;
    const simulation =
      (await this.#simulated(located, contextTokens, signal)) ??
      (await this.#simulatedByOther(located, contextTokens, signal));
    if (simulation !== undefined) return this.#withObservedCards(engine, simulation);
    const { computed } = reported ?? (await this.#learnAndDescribe(located, contextTokens, signal));
    return this.#withObservedCards(engine, computed ?? this.quick(model));
  };

  #configured(name: string): MemoryEstimate | undefined {
    const { sizeBytes } = overridesOf(this.#source.settings().models, name);
    if (sizeBytes === undefined) return undefined;
    return { method: "configured", predictedBytes: sizeBytes, margin: 0, processBytes: 0 };
  }

  async #simulated(located: LocatedModel, contextTokens: number, signal: AbortSignal) {
    const { engine, model } = located;
    const simulations = getOrInsert(this.#simulations, engine, () => new Map<string, MemoryEstimate>());
    const remembered = simulations.get(simulationKey(located, contextTokens));
    if (remembered !== undefined) return remembered;
    const reserved = await engine.estimation?.estimate(model.name, { contextTokens }, signal);
    if (reserved === undefined) return undefined;
    const facts = await this.#factsOf(located, signal);
    const load = facts && engine.residency?.loadShape(facts, contextTokens);
    const dimensions = facts && this.#cachedInputs(engine, facts)?.dimensions;
    const estimate = load === undefined ? reserved : residentPart(reserved, load, dimensions);
    // Its cards may have failed meanwhile.
    simulations.set(simulationKey(located, contextTokens), estimate);
    return estimate;
  }

  /**
   * A simulation by an engine that can read the same weights: the embedded one reads those of an Ollama on this
   * machine.
   */
  async #simulatedByOther(located: LocatedModel, contextTokens: number, signal: AbortSignal) {
    const { engine, model } = located;
    if (engine.estimation !== undefined || model.digest === undefined) return undefined;
    const facts = await this.#factsOf(located, signal);
    const load = facts && engine.residency?.loadShape(facts, contextTokens);
    if (facts?.weightsDigest === undefined || load === undefined) return undefined;
    const key = simulationKey(located, contextTokens);
    if (!this.#otherSimulations.has(key)) {
      const simulator = this.#source.inventory.engines.find(({ estimation }) => estimation?.simulate !== undefined);
      const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
      const bytes = await simulator?.estimation?.simulate?.(facts.weightsDigest, { ...load, isEmbedding }, signal);
      if (bytes === undefined) return undefined;
      this.#otherSimulations.set(key, bytes);
    }
    return this.#fromOtherSimulation(located, contextTokens, facts);
  }

  /** Undefined until there is a simulation. */
  #fromOtherSimulation(where: ModelReference, contextTokens: number, facts: ModelFacts): MemoryEstimate | undefined {
    // No key is made where nothing is kept: a route asks for each model.
    if (this.#otherSimulations.size === 0) return undefined;
    const { engine } = where;
    const bytes = this.#otherSimulations.get(simulationKey(where, contextTokens));
    const load = engine.residency?.loadShape(facts, contextTokens);
    if (bytes === undefined || load === undefined) return undefined;
    const { otherBytes = 0 } = weightBytesOf({ ...facts, weightsBytes: bytes.weightsBytes });
    const version = this.#learning.lastVersion(engine);
    const calibration = version === undefined ? undefined : this.#learning.calibration(engine, version);
    return simulatedElsewhere(bytes, load, this.#cachedInputs(engine, facts)?.dimensions, otherBytes, calibration);
  }

  /** Cached: a list requests all models at once. */
  #cachedInputs(engine: Engine, facts: ModelFacts): FormulaInputs | undefined {
    const its = getOrInsert(this.#inputsByFacts, engine, () => new WeakMap<ModelFacts, FormulaInputs | undefined>());
    if (!its.has(facts)) its.set(facts, formulaInputs(engine, facts));
    return its.get(facts);
  }

  /** Empty without metadata that the formula supports. */
  #described({ engine, model }: ModelReference, contextTokens: number, facts: ModelFacts, version?: string): Described {
    const inputs = this.#cachedInputs(engine, facts);
    const load = inputs?.loadFor(contextTokens);
    if (inputs === undefined || load === undefined) return {};
    const { dimensions, weights } = inputs;
    if (!isLearned(engine) || model.digest === undefined || version === undefined)
      return { computed: computedEstimate(dimensions, load, weights) };
    const learning = this.#learning;
    learning.noteInputs(engine, model.digest, inputs);
    const computed = computedEstimate(dimensions, load, weights, learning.calibration(engine, version));
    const learned = learning.learned(engine, version, model.digest, load.contextTokens, computed);
    return { computed, ...defined({ learned }) };
  }

  async #learnAndDescribe(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<Described> {
    const { engine, model } = located;
    const learning = this.#learning;
    await learning.ready();
    const facts = await this.#factsOf(located, signal);
    if (facts === undefined) return {};
    const residents = this.#source.inventory.lastResident(engine);
    // Nothing to learn yet: a request for the version would only delay the first load.
    const isNew = residents.length === 0 && !learning.hasObserved(engine);
    if (!isLearned(engine) || model.digest === undefined || isNew)
      return this.#described(located, contextTokens, facts);
    const version = await learning.versionOf(engine, signal);
    const inputs = this.#cachedInputs(engine, facts);
    if (inputs !== undefined) learning.noteInputs(engine, model.digest, inputs);
    learning.observe(engine, version, residents);
    return this.#described(located, contextTokens, facts, version);
  }

  /** Undefined if the engine can't describe the model: the size rule applies then. */
  async #factsOf(located: LocatedModel, signal: AbortSignal): Promise<ModelFacts | undefined> {
    try {
      return await this.#source.inventory.facts(located, signal);
    } catch (error) {
      if (error instanceof Cancelled || !(error instanceof OrchestratorError)) throw error;
      return undefined;
    }
  }

  /** A server whose models were always entirely in RAM uses no graphics cards. */
  #withObservedCards(engine: Engine, estimate: MemoryEstimate): MemoryEstimate {
    const version = isLearned(engine) ? this.#learning.lastVersion(engine) : undefined;
    if (version === undefined || estimate.vramShare !== undefined || !this.#learning.usesNoCards(engine, version))
      return estimate;
    return { ...estimate, vramShare: 0 };
  }

  #known(where: ModelReference, contextTokens: number): MemoryEstimate | undefined {
    const { engine } = where;
    const facts = this.#source.inventory.knownFacts(where);
    const from = facts && this.#described(where, contextTokens, facts, this.#learning.lastVersion(engine));
    const estimate =
      from?.learned ??
      this.#simulations.get(engine)?.get(simulationKey(where, contextTokens)) ??
      (facts && this.#fromOtherSimulation(where, contextTokens, facts)) ??
      from?.computed;
    return estimate && this.#withObservedCards(engine, estimate);
  }
}

/** Whether the sizes that the engine reports are learned; see `LoadRules.serverOptions`. */
const isLearned = ({ residency }: Engine): boolean => residency?.serverOptions !== undefined;

const simulationKey = ({ engine: { id, residency }, model }: ModelReference, contextTokens: number): string =>
  JSON.stringify([id, model.name, model.digest, contextTokens, residency?.serverOptions, residency?.cardFailure?.()]);

/** Undefined without metadata that the formula supports. */
function formulaInputs({ residency }: Engine, facts: ModelFacts): FormulaInputs | undefined {
  const dimensions = dimensionsOf(facts);
  if (dimensions === undefined || residency === undefined) return undefined;
  return { dimensions, weights: weightBytesOf(facts), loadFor: (tokens) => residency.loadShape(facts, tokens) };
}

/** The inputs of the formula for one model, kept to derive its compute buffer from sizes reported later. */
interface FormulaInputs {
  readonly dimensions: ModelDimensions;
  readonly weights: WeightBytes;
  readonly loadFor: (contextTokens: number) => LoadShape;
}

const versionMs = 60_000;

interface HostState {
  readonly inputs: Map<string, FormulaInputs>;
  version: { readonly value: Promise<string>; readonly atMs: number; answered: string | undefined } | undefined;
}

/** Learns from the sizes that engines report. Hosts are identified by address, not by the id of the engine. */
function createLearning(now: () => number, kept?: KeptLearning) {
  const hosts = new WeakMap<Engine, HostState>();
  const sizes = createLearnedSizes();
  /** By host and version; dropped when a new size is observed. */
  let calibrations = new Map<string, ComputeCalibration>();
  const hostKey = createHostKeys();
  let restored: Promise<void> | undefined;
  const hostOf = (engine: Engine): HostState =>
    getOrInsert(hosts, engine, () => ({ inputs: new Map(), version: undefined }));
  const keyOf = (engine: Engine, version: string, digest: string, contextTokens: number) => {
    const load = hostOf(engine).inputs.get(digest)?.loadFor(contextTokens) ?? engine.residency?.serverOptions;
    if (load === undefined) return undefined;
    const { parallel, cacheType } = load;
    return { host: hostKey(engine), version, digest, contextTokens, parallel, cacheType };
  };

  function observedCompute(
    engine: Engine,
    key: Pick<LearnedReading, "digest" | "contextTokens" | "parallel" | "cacheType">,
    sizeBytes: number,
  ) {
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
        const asked: HostState["version"] = { value, atMs: now(), answered: host.version?.answered };
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
      return getOrInsert(calibrations, key, () =>
        calibrate(
          sizes.readings(hostKey(engine), version).flatMap((reading) => {
            // Observed with other server options.
            if (reading.parallel !== server?.parallel || reading.cacheType !== server.cacheType) return [];
            return observedCompute(engine, reading, reading.sizeBytes) ?? reading.compute ?? [];
          }),
        ),
      );
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
    const number = getOrInsert(numbers, engine, () => (last += 1));
    return `${engine.id} #${number}`;
  };
}
