import { overridesOf } from "../catalog/model-overrides.ts";
import type { Settings } from "../config/schema.ts";
import type { LocatedModel } from "../inventory/inventory.ts";
import { modelId } from "../inventory/model-id.ts";
import { estimateBySize } from "../memory/estimate.ts";
import type { InstalledModel, MemoryEstimate, ModelOverrides } from "../types.ts";

/** What a model will take in memory. */
export interface Estimates {
  /** `models.<glob>.sizeBytes`, else the engine's own allocator, else the size rule; remembered by digest. */
  of(located: LocatedModel, contextTokens: number, signal: AbortSignal): Promise<MemoryEstimate>;
  /** Without asking the engine, which looks into the file: for lists and routes. */
  quick(model: Pick<InstalledModel, "name" | "sizeBytes">): MemoryEstimate;
}

/** `settings` is asked anew each time. */
export function createEstimates(settings: () => Settings): Estimates {
  const known = new Map<string, MemoryEstimate>();

  function configured(name: string): MemoryEstimate | undefined {
    const { sizeBytes } = overridesOf(settings().models as Readonly<Record<string, ModelOverrides>>, name);
    if (sizeBytes === undefined) return undefined;
    return { method: "configured", predictedBytes: sizeBytes, margin: 0, processBytes: 0 };
  }

  const quick: Estimates["quick"] = ({ name, sizeBytes }) =>
    configured(name) ?? estimateBySize(sizeBytes, settings().memory.bufferBytes);

  return {
    quick,
    async of(located, contextTokens, signal) {
      const { engine, model } = located;
      const stated = configured(model.name);
      if (stated !== undefined) return stated;
      const key = `${modelId(engine.id, model.name)} ${model.digest ?? ""} ${contextTokens}`;
      const remembered = known.get(key);
      if (remembered !== undefined) return remembered;
      const simulated = await engine.estimation?.estimate(model.name, { contextTokens }, signal);
      if (simulated === undefined) return quick(model);
      known.set(key, simulated);
      return simulated;
    },
  };
}
