import { Cancelled, OrchestratorError } from "../api/errors.ts";
import type { MemoryEstimate } from "../api/facade-status.ts";
import type { InstalledModel, ModelFacts } from "../api/types.ts";
import { overridesOf } from "../routing/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import type { Engine } from "../engines/engine.ts";
import type { Inventory } from "../catalog/inventory.ts";
import type { LocatedModel, ModelReference } from "../catalog/located-model.ts";
import { dimensionsOf } from "../memory/dimensions.ts";
import {
  computedEstimate,
  estimateBySize,
  weightBytesOf,
  type AllocatorBytes,
  residentPart,
  simulatedElsewhere,
} from "../memory/predict.ts";
import type { KeptLearning } from "./kept-learning.ts";
import { type FormulaInputs, type Learning, createLearning } from "./learning.ts";
import { defined } from "../util/defined.ts";

/** Predicts how much memory a model takes. */
export interface Estimates {
  /**
   * The first available of: `models.<glob>.sizeBytes`; the size that the engine last reported for the same load; a
   * simulation by the allocator (the engine's own, or the embedded one if it can read the same weights; cached by
   * digest); the formula over the model's metadata; the size rule.
   */
  of(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<MemoryEstimate>;
  /**
   * The same from cached data, without requests to the engine: for lists and routes. Without `at`, only the configured
   * size and the size rule.
   */
  quick(
    model: Pick<InstalledModel, "name" | "sizeBytes" | "digest" | "modifiedAt">,
    at?: { readonly engine: Engine; readonly contextTokens: number },
  ): MemoryEstimate;
}

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

class LoadEstimates implements Estimates {
  readonly #source: EstimateSource;
  readonly #learning: Learning;
  readonly #simulations = new Map<string, MemoryEstimate>();
  /** Simulated loads of other engines, by the same key; the estimate also depends on what is learned of them. */
  readonly #otherSimulations = new Map<string, AllocatorBytes>();
  /** Also by engine: a new engine for the same server may have other server options. */
  readonly #inputsByFacts = new WeakMap<Engine, WeakMap<ModelFacts, FormulaInputs | undefined>>();

  constructor(source: EstimateSource) {
    this.#source = source;
    this.#learning = createLearning(source.now, source.kept);
  }

  readonly quick: Estimates["quick"] = (model, at) =>
    this.#configured(model.name) ??
    (at && this.#known({ engine: at.engine, model }, at.contextTokens)) ??
    estimateBySize(model.sizeBytes, this.#source.settings().memory.bufferBytes);

  readonly of: Estimates["of"] = async (located, contextTokens, signal) => {
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
    const key = simulationKey(located, contextTokens);
    const remembered = this.#simulations.get(key);
    if (remembered !== undefined) return remembered;
    const reserved = await engine.estimation?.estimate(model.name, { contextTokens }, signal);
    if (reserved === undefined) return undefined;
    const facts = await this.#factsOf(located, signal);
    const load = facts && engine.residency?.loadShape(facts, contextTokens);
    const dimensions = facts && this.#cachedInputs(engine, facts)?.dimensions;
    const estimate = load === undefined ? reserved : residentPart(reserved, load, dimensions);
    this.#simulations.set(key, estimate);
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
    const its = this.#inputsByFacts.get(engine) ?? new WeakMap<ModelFacts, FormulaInputs | undefined>();
    this.#inputsByFacts.set(engine, its);
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
      this.#simulations.get(simulationKey(where, contextTokens)) ??
      (facts && this.#fromOtherSimulation(where, contextTokens, facts)) ??
      from?.computed;
    return estimate && this.#withObservedCards(engine, estimate);
  }
}

/** Whether the sizes that the engine reports are learned; see `LoadRules.serverOptions`. */
const isLearned = ({ residency }: Engine): boolean => residency?.serverOptions !== undefined;

const simulationKey = ({ engine, model }: ModelReference, contextTokens: number): string =>
  JSON.stringify([engine.id, model.name, model.digest, contextTokens, engine.residency?.serverOptions]);

/** Undefined without metadata that the formula supports. */
function formulaInputs({ residency }: Engine, facts: ModelFacts): FormulaInputs | undefined {
  const dimensions = dimensionsOf(facts);
  if (dimensions === undefined || residency === undefined) return undefined;
  return { dimensions, weights: weightBytesOf(facts), loadFor: (tokens) => residency.loadShape(facts, tokens) };
}
