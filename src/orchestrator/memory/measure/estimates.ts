import { Cancelled, OrchestratorError } from "../../api/errors.ts";
import type { InstalledModel, MemoryEstimate, ModelFacts, ModelOverrides } from "../../api/types.ts";
import { overridesOf } from "../../catalog/model-overrides.ts";
import type { Settings } from "../../config/schema.ts";
import type { Engine } from "../../engines/engine.ts";
import { batchTokens } from "../../engines/llama-cpp/prepare-request.ts";
import type { Inventory } from "../../models/inventory.ts";
import type { LocatedModel, ModelReference } from "../../models/located-model.ts";
import type { LoadShape } from "../cache.ts";
import { dimensionsOf } from "../dimensions.ts";
import { ollamaLoad } from "../ollama-load.ts";
import { computedEstimate, estimateBySize, weightBytesOf } from "../predict.ts";
import { defaultContextTokens } from "../reading.ts";
import { type AllocatorBytes, residentPart, simulatedElsewhere } from "../simulated.ts";
import type { KeptLearning } from "./kept-learning.ts";
import { type FormulaInputs, createLearning } from "./learning.ts";

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

export function createEstimates(parts: {
  /** Called on each use. */
  readonly settings: () => Settings;
  readonly inventory: Pick<Inventory, "engines" | "facts" | "knownFacts" | "lastResident">;
  /** Absent: what is learned is lost when this process ends. */
  readonly kept?: KeptLearning;
  readonly now: () => number;
}): Estimates {
  const { settings, inventory } = parts;
  const simulations = new Map<string, MemoryEstimate>();
  /** Simulated loads of other engines, by the same key; the estimate also depends on what is learned of them. */
  const otherSimulations = new Map<string, AllocatorBytes>();
  /** Also by engine: a new engine for the same server may have other server options. */
  const inputsByFacts = new WeakMap<Engine, WeakMap<ModelFacts, FormulaInputs | undefined>>();
  const learning = createLearning(parts.now, parts.kept);

  function configured(name: string): MemoryEstimate | undefined {
    const { sizeBytes } = overridesOf(settings().models as Readonly<Record<string, ModelOverrides>>, name);
    if (sizeBytes === undefined) return undefined;
    return { method: "configured", predictedBytes: sizeBytes, margin: 0, processBytes: 0 };
  }

  const simulationKey = ({ engine, model }: ModelReference, contextTokens: number) =>
    JSON.stringify([engine.id, model.name, model.digest, contextTokens, engine.serverOptions]);

  async function simulated(located: LocatedModel, contextTokens: number, signal: AbortSignal) {
    const { engine, model } = located;
    const key = simulationKey(located, contextTokens);
    const remembered = simulations.get(key);
    if (remembered !== undefined) return remembered;
    const reserved = await engine.estimation?.estimate(model.name, { contextTokens }, signal);
    if (reserved === undefined) return undefined;
    const facts = await factsOf(located, signal);
    const load = facts && loadShapeOf(engine, facts, contextTokens);
    const dimensions = facts && cachedInputs(engine, facts)?.dimensions;
    const estimate = load === undefined ? reserved : residentPart(reserved, load, dimensions);
    simulations.set(key, estimate);
    return estimate;
  }

  /**
   * A simulation by an engine that can read the same weights: the embedded one reads those of an Ollama on this
   * machine.
   */
  async function simulatedByOther(located: LocatedModel, contextTokens: number, signal: AbortSignal) {
    const { engine, model } = located;
    if (engine.kind !== "ollama" || model.digest === undefined) return undefined;
    const facts = await factsOf(located, signal);
    const load = facts && loadShapeOf(engine, facts, contextTokens);
    if (facts?.weightsDigest === undefined || load === undefined) return undefined;
    const key = simulationKey(located, contextTokens);
    if (!otherSimulations.has(key)) {
      const simulator = inventory.engines.find(({ estimation }) => estimation?.simulate !== undefined);
      const isEmbedding = facts.capabilities.includes("embedding") && !facts.capabilities.includes("completion");
      const bytes = await simulator?.estimation?.simulate?.(facts.weightsDigest, { ...load, isEmbedding }, signal);
      if (bytes === undefined) return undefined;
      otherSimulations.set(key, bytes);
    }
    return fromOtherSimulation(located, contextTokens, facts);
  }

  /** Undefined until there is a simulation. */
  function fromOtherSimulation(
    where: ModelReference,
    contextTokens: number,
    facts: ModelFacts,
  ): MemoryEstimate | undefined {
    const { engine } = where;
    const bytes = otherSimulations.get(simulationKey(where, contextTokens));
    const load = loadShapeOf(engine, facts, contextTokens);
    if (bytes === undefined || load === undefined) return undefined;
    const { otherBytes = 0 } = weightBytesOf({ ...facts, weightsBytes: bytes.weightsBytes });
    const version = learning.lastVersion(engine);
    const calibration = version === undefined ? undefined : learning.calibration(engine, version);
    return simulatedElsewhere(bytes, load, cachedInputs(engine, facts)?.dimensions, otherBytes, calibration);
  }

  /** Cached: a list requests all models at once. */
  function cachedInputs(engine: Engine, facts: ModelFacts): FormulaInputs | undefined {
    const its = inputsByFacts.get(engine) ?? new WeakMap<ModelFacts, FormulaInputs | undefined>();
    inputsByFacts.set(engine, its);
    if (!its.has(facts)) its.set(facts, formulaInputs(engine, facts));
    return its.get(facts);
  }

  /** Empty without metadata that the formula supports. */
  function described(
    { engine, model }: ModelReference,
    contextTokens: number,
    facts: ModelFacts,
    version?: string,
  ): Described {
    const inputs = cachedInputs(engine, facts);
    const load = inputs?.loadFor(contextTokens);
    if (inputs === undefined || load === undefined) return {};
    const { dimensions, weights } = inputs;
    // Only Ollama reports the sizes of its buffers; the memory of other processes grows with use.
    if (engine.kind !== "ollama" || model.digest === undefined || version === undefined)
      return { computed: computedEstimate(dimensions, load, weights) };
    learning.noteInputs(engine, model.digest, inputs);
    const computed = computedEstimate(dimensions, load, weights, learning.calibration(engine, version));
    const learned = learning.learned(engine, version, model.digest, load.contextTokens, computed);
    return { computed, ...(learned === undefined ? {} : { learned }) };
  }

  async function learnAndDescribe(
    located: LocatedModel,
    contextTokens: number,
    signal: AbortSignal,
  ): Promise<Described> {
    const { engine, model } = located;
    await learning.ready();
    const facts = await factsOf(located, signal);
    if (facts === undefined) return {};
    if (engine.kind !== "ollama" || model.digest === undefined) return described(located, contextTokens, facts);
    const residents = inventory.lastResident(engine);
    // Nothing to learn yet: a request for the version would only delay the first load.
    if (residents.length === 0 && !learning.hasObserved(engine)) return described(located, contextTokens, facts);
    const version = await learning.versionOf(engine, signal);
    const inputs = cachedInputs(engine, facts);
    if (inputs !== undefined) learning.noteInputs(engine, model.digest, inputs);
    learning.observe(engine, version, residents);
    return described(located, contextTokens, facts, version);
  }

  /** Undefined if the engine can't describe the model: the size rule applies then. */
  async function factsOf(located: LocatedModel, signal: AbortSignal): Promise<ModelFacts | undefined> {
    try {
      return await inventory.facts(located, signal);
    } catch (error) {
      if (error instanceof Cancelled || !(error instanceof OrchestratorError)) throw error;
      return undefined;
    }
  }

  /** A server whose models were always entirely in RAM uses no graphics cards. */
  function withObservedCards(engine: Engine, estimate: MemoryEstimate): MemoryEstimate {
    const version = engine.kind === "ollama" ? learning.lastVersion(engine) : undefined;
    if (version === undefined || estimate.vramShare !== undefined || !learning.usesNoCards(engine, version))
      return estimate;
    return { ...estimate, vramShare: 0 };
  }

  function known(where: ModelReference, contextTokens: number): MemoryEstimate | undefined {
    const { engine } = where;
    const facts = inventory.knownFacts(where);
    const from = facts && described(where, contextTokens, facts, learning.lastVersion(engine));
    const estimate =
      from?.learned ??
      simulations.get(simulationKey(where, contextTokens)) ??
      (facts && fromOtherSimulation(where, contextTokens, facts)) ??
      from?.computed;
    return estimate && withObservedCards(engine, estimate);
  }

  const quick: Estimates["quick"] = (model, at) =>
    configured(model.name) ??
    (at && known({ engine: at.engine, model }, at.contextTokens)) ??
    estimateBySize(model.sizeBytes, settings().memory.bufferBytes);

  return {
    quick,
    async of(located, contextTokens, signal) {
      const { engine, model } = located;
      const stated = configured(model.name);
      if (stated !== undefined) return stated;
      // A reported size is better than any prediction.
      const reported = engine.kind === "ollama" ? await learnAndDescribe(located, contextTokens, signal) : undefined;
      if (reported?.learned !== undefined) return reported.learned;
      const simulation =
        (await simulated(located, contextTokens, signal)) ?? (await simulatedByOther(located, contextTokens, signal));
      if (simulation !== undefined) return withObservedCards(engine, simulation);
      const { computed } = reported ?? (await learnAndDescribe(located, contextTokens, signal));
      return withObservedCards(engine, computed ?? quick(model));
    },
  };
}

/** Undefined without metadata that the formula supports. */
function formulaInputs(engine: Engine, facts: ModelFacts): FormulaInputs | undefined {
  const dimensions = dimensionsOf(facts);
  const usual = loadShapeOf(engine, facts, facts.contextTokens ?? defaultContextTokens);
  if (dimensions === undefined || usual === undefined) return undefined;
  const loadFor = (tokens: number) => loadShapeOf(engine, facts, tokens) ?? usual;
  return { dimensions, weights: weightBytesOf(facts), loadFor };
}

/** How an engine would load a model for one conversation with this context; undefined if that isn't known. */
export function loadShapeOf(
  { kind, serverOptions }: Pick<Engine, "kind" | "serverOptions">,
  facts: ModelFacts,
  contextTokens: number,
): LoadShape | undefined {
  if (kind === "ollama") return ollamaLoad(facts, contextTokens, serverOptions);
  if (kind === "llama-cpp")
    return { contextTokens, parallel: 1, batchTokens, cacheType: "f16", hasFlashAttention: true };
  return undefined;
}
