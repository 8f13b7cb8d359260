import { overridesOf } from "../catalog/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import { Cancelled, OrchestratorError } from "../errors.ts";
import type { Inventory, LocatedModel } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import { dimensionsOf } from "../memory/dimensions.ts";
import { estimateBySize } from "../memory/estimate.ts";
import { computedEstimate, weightBytesOf } from "../memory/predict.ts";
import type { InstalledModel, MemoryEstimate, ModelFacts, ModelOverrides } from "../types.ts";
import { createLearning } from "./learning.ts";
import { loadShapeOf } from "./load-shape.ts";

/** What a model will take in memory. */
export interface Estimates {
  /**
   * The first of: `models.<glob>.sizeBytes`, the size that the engine last reported of this very load, the engine's own
   * allocator (remembered by digest), the formula over the model's metadata, the size rule.
   */
  of(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<MemoryEstimate>;
  /** Without asking the engine, which looks into the file: for lists and routes. */
  quick(model: Pick<InstalledModel, "name" | "sizeBytes">): MemoryEstimate;
}

export function createEstimates(parts: {
  /** Asked anew each time. */
  readonly settings: () => Settings;
  readonly inventory: Pick<Inventory, "facts" | "lastResident">;
  readonly now: () => number;
}): Estimates {
  const { settings, inventory } = parts;
  const simulations = new Map<string, MemoryEstimate>();
  const learning = createLearning(parts.now);

  function configured(name: string): MemoryEstimate | undefined {
    const { sizeBytes } = overridesOf(settings().models as Readonly<Record<string, ModelOverrides>>, name);
    if (sizeBytes === undefined) return undefined;
    return { method: "configured", predictedBytes: sizeBytes, margin: 0, processBytes: 0 };
  }

  const quick: Estimates["quick"] = ({ name, sizeBytes }) =>
    configured(name) ?? estimateBySize(sizeBytes, settings().memory.bufferBytes);

  async function simulated({ engine, model }: LocatedModel, contextTokens: number, signal: AbortSignal) {
    const key = `${modelId(engine.id, model.name)} ${model.digest ?? ""} ${contextTokens}`;
    const remembered = simulations.get(key);
    if (remembered !== undefined) return remembered;
    const estimate = await engine.estimation?.estimate(model.name, { contextTokens }, signal);
    if (estimate !== undefined) simulations.set(key, estimate);
    return estimate;
  }

  /** From metadata and from what the engine reported so far; undefined without metadata that the formula knows. */
  async function described(
    located: LocatedModel,
    contextTokens: number,
    signal: AbortSignal,
  ): Promise<{ readonly computed?: MemoryEstimate; readonly learned?: MemoryEstimate }> {
    const { engine, model } = located;
    const facts = await factsOf(located, signal);
    const dimensions = facts && dimensionsOf(facts);
    const load = facts && loadShapeOf(engine.kind, facts, contextTokens);
    if (facts === undefined || dimensions === undefined || load === undefined) return {};
    const weights = weightBytesOf(facts);
    // Only Ollama reports the sizes of its buffers; a process's memory grows as it is used.
    if (engine.kind !== "ollama" || model.digest === undefined)
      return { computed: computedEstimate(dimensions, load, weights) };
    learning.explain(engine, model.digest, {
      dimensions,
      weights,
      loadFor: (tokens) => loadShapeOf(engine.kind, facts, tokens) ?? load,
    });
    const residents = inventory.lastResident(engine);
    // Asking for the version would only delay the first load.
    if (residents.length === 0 && !learning.hasObserved(engine))
      return { computed: computedEstimate(dimensions, load, weights) };
    const version = await learning.versionOf(engine, signal);
    learning.observe(engine, version, residents);
    const computed = computedEstimate(dimensions, load, weights, learning.calibration(engine, version));
    const learned = learning.learned(engine, version, model.digest, load.contextTokens, computed);
    return { computed, ...(learned === undefined ? {} : { learned }) };
  }

  /** Undefined when nobody can tell: then the size has to do. */
  async function factsOf(located: LocatedModel, signal: AbortSignal): Promise<ModelFacts | undefined> {
    try {
      return await inventory.facts(located, signal);
    } catch (error) {
      if (error instanceof Cancelled || !(error instanceof OrchestratorError)) throw error;
      return undefined;
    }
  }

  return {
    quick,
    async of(located, contextTokens, signal) {
      const { engine, model } = located;
      const stated = configured(model.name);
      if (stated !== undefined) return stated;
      // Whoever reports the sizes of its buffers knows better than any prediction.
      const reported = engine.kind === "ollama" ? await described(located, contextTokens, signal) : undefined;
      if (reported?.learned !== undefined) return reported.learned;
      const simulation = await simulated(located, contextTokens, signal);
      if (simulation !== undefined) return simulation;
      const { computed } = reported ?? (await described(located, contextTokens, signal));
      return computed ?? quick(model);
    },
  };
}
