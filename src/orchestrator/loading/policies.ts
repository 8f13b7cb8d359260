import type { Engine } from "../engines/engine.ts";
import { modelId } from "../inventory/model-id.ts";
import { type MemoryState, freeBytes } from "../memory/plan.ts";
import type { Observations } from "../observations/observations.ts";
import { createEvictionPolicy, type EvictionPolicy } from "../scheduler/eviction-policy.ts";
import type { ResidentModel } from "../types.ts";

/** The eviction policy of each memory domain, and what it is told. */
export interface Policies {
  /** A model begins to answer a request. Pinned ones are left out: they can't be evicted. */
  served(engine: Engine, resident: ResidentModel): void;
  /** How much there was to share at the last look. */
  looked(engine: Engine, state: MemoryState): void;
  /** What losing it is expected to cost, in seconds; undefined before its first request. */
  lossSeconds(engine: Engine, id: string): number | undefined;
  /** Other weights may carry its name now. `id`: engine and model. */
  forget(id: string): void;
}

export function createPolicies(parts: {
  readonly observations: Pick<Observations, "of">;
  readonly isPinned: (name: string) => boolean;
}): Policies {
  const domains = new Map<string, { readonly policy: EvictionPolicy; capacityBytes: number | undefined }>();
  const domainOf = (id: string) => {
    const domain = domains.get(id) ?? { policy: createEvictionPolicy(), capacityBytes: undefined };
    domains.set(id, domain);
    return domain;
  };
  return {
    served(engine, { name, sizeBytes }) {
      const { policy, capacityBytes } = domainOf(engine.memoryDomain);
      // Memory that is not measured is not planned either.
      if (capacityBytes === undefined || parts.isPinned(name)) return;
      const key = modelId(engine.id, name);
      const { loadSeconds } = parts.observations.of(key);
      policy.used({ key, sizeBytes, capacityBytes, ...(loadSeconds === undefined ? {} : { loadSeconds }) });
    },
    looked(engine, state) {
      const evictable = state.resident.filter(({ isPinned }) => !isPinned);
      const released = evictable.reduce((sum, entry) => sum + Math.max(entry.sizeBytes, entry.mappedBytes), 0);
      domainOf(engine.memoryDomain).capacityBytes = freeBytes(state) + released;
    },
    lossSeconds: (engine, id) => domainOf(engine.memoryDomain).policy.expectedLossSeconds(id),
    forget(id) {
      for (const { policy } of domains.values()) policy.forget(id);
    },
  };
}
