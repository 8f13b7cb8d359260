import type { Engine } from "../engines/engine.ts";
import type { GpuMemory } from "../memory/measure/probe.ts";
import type { ResidentModel } from "../api/types.ts";

/**
 * Remembers the free memory of the graphics cards when a loaded model was first seen. Ollama does not measure it again:
 * while one of its models is loaded, it takes what was free after that load for the free memory, although other models
 * were unloaded since (`llamaServerRunner.GetDeviceInfos`, and observed with 0.33).
 */
export interface FreeAfterLoad {
  /** Bytes by the name of the model; empty for an engine without such models, or if a card doesn't report it. */
  observe(
    engine: Pick<Engine, "id" | "usesCards">,
    resident: readonly ResidentModel[],
    gpus: readonly GpuMemory[],
  ): ReadonlyMap<string, number>;
}

export function createFreeAfterLoad(): FreeAfterLoad {
  const byEngine = new Map<string, ReadonlyMap<string, { readonly load: string; readonly bytes: number }>>();
  return {
    observe({ id, usesCards }, resident, gpus) {
      const bytes = gpus.reduce((sum, { freeBytes = Number.NaN }) => sum + freeBytes, 0);
      if (usesCards !== true || gpus.length === 0 || Number.isNaN(bytes)) return new Map();
      const before = byEngine.get(id);
      const seen = new Map(
        resident
          .filter(({ vramBytes }) => vramBytes > 0)
          .map(({ name, digest, contextTokens }) => {
            const load = JSON.stringify([digest, contextTokens]);
            const known = before?.get(name);
            return [name, known?.load === load ? known : { load, bytes }] as const;
          }),
      );
      byEngine.set(id, seen);
      return new Map([...seen].map(([name, each]) => [name, each.bytes]));
    },
  };
}
