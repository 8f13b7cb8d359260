import type { Engine as WholeEngine } from "../engines/engine.ts";
import { modelId } from "../inventory/model-id.ts";
import { type MemoryState, freeBytes } from "../memory/plan.ts";
import type { Observations } from "../observations/observations.ts";
import { createEvictionPolicy, type EvictionPolicy, type ModelUse } from "../scheduler/eviction-policy.ts";
import type { ResidentModel } from "../types.ts";

type Engine = Pick<WholeEngine, "id" | "memoryDomain">;
type Model = Pick<ResidentModel, "name" | "sizeBytes">;

/** The eviction policy of each memory domain, and its inputs. */
export interface EvictionPolicies {
  /** A model begins to answer a request. Pinned ones are left out: they can't be evicted. */
  served(engine: Engine, resident: Model): void;
  /** How much there was to share at the last look. */
  looked(engine: Engine, state: MemoryState): void;
  /**
   * What losing each model is expected to cost, in seconds, by id; undefined before its first request. `next`: the model
   * that a load is planned for, of that size where none was seen yet.
   */
  losses(engine: Engine, next?: Model): (id: string) => number | undefined;
  /** Other weights may carry its name now. `id`: engine and model. */
  forget(id: string): void;
}

export function createEvictionPolicies(parts: {
  readonly observations: Pick<Observations, "of">;
  readonly isPinned: (name: string) => boolean;
}): EvictionPolicies {
  const domains = new Map<string, { readonly policy: EvictionPolicy; capacityBytes: number }>();
  const domainOf = (id: string) => {
    // What serves before the first look, as what an earlier process loaded does, counts; nothing goes for it.
    const domain = domains.get(id) ?? { policy: createEvictionPolicy(), capacityBytes: Number.POSITIVE_INFINITY };
    domains.set(id, domain);
    return domain;
  };
  /** Undefined: it can't be evicted. */
  const useOf = (engine: Engine, { name, sizeBytes }: Model): ModelUse | undefined => {
    if (parts.isPinned(name)) return undefined;
    const { capacityBytes } = domainOf(engine.memoryDomain);
    const key = modelId(engine.id, name);
    const { loadSeconds } = parts.observations.of(key);
    return { key, sizeBytes, capacityBytes, ...(loadSeconds === undefined ? {} : { loadSeconds }) };
  };
  return {
    served(engine, model) {
      const use = useOf(engine, model);
      if (use !== undefined) domainOf(engine.memoryDomain).policy.used(use);
    },
    looked(engine, state) {
      const evictable = state.resident.filter(({ isPinned }) => !isPinned);
      const released = evictable.reduce((sum, entry) => sum + Math.max(entry.sizeBytes, entry.mappedBytes), 0);
      domainOf(engine.memoryDomain).capacityBytes = freeBytes(state) + released;
    },
    losses: (engine, next) =>
      domainOf(engine.memoryDomain).policy.expectedLosses(next === undefined ? undefined : useOf(engine, next)),
    forget(id) {
      for (const { policy } of domains.values()) policy.forget(id);
    },
  };
}
