import type { Engine as WholeEngine, ResidentModel } from "../engines/engine.ts";
import type { Observations } from "./observations.ts";
import { freeBytes } from "../memory/plan.ts";
import type { MemoryState } from "../memory/state.ts";
import { modelId } from "../catalog/located-model.ts";
import { expectedLossSeconds, initialPolicy, policyAfter, policyWithout } from "./decide/eviction-policy.ts";
import { getOrInsert } from "../util/values.ts";

type Engine = Pick<WholeEngine, "id" | "memoryDomain">;
type Model = Pick<ResidentModel, "name" | "sizeBytes">;

/** The eviction policy of each memory domain, and its inputs. */
export type EvictionPolicies = ReturnType<typeof createEvictionPolicies>;

export function createEvictionPolicies(parts: {
  readonly observations: Pick<Observations, "of">;
  readonly isPinned: (name: string) => boolean;
}) {
  const domains = new Map<string, { policy: typeof initialPolicy; capacityBytes: number }>();
  const domainOf = (id: string) => {
    // Uses count before the first measurement, too (of models that an earlier process loaded); they evict nothing.
    return getOrInsert(domains, id, () => ({ policy: initialPolicy, capacityBytes: Number.POSITIVE_INFINITY }));
  };
  /** Undefined if it can't be evicted. */
  const useOf = (engine: Engine, { name, sizeBytes }: Model) => {
    if (parts.isPinned(name)) return undefined;
    const { capacityBytes } = domainOf(engine.memoryDomain);
    const key = modelId(engine.id, name);
    const { loadSeconds } = parts.observations.of(key);
    return { key, sizeBytes, capacityBytes, ...(loadSeconds === undefined ? {} : { loadSeconds }) };
  };
  return {
    /** A model starts serving a request. Pinned models are ignored: they can't be evicted. */
    served(engine: Engine, model: Model) {
      const use = useOf(engine, model);
      const domain = domainOf(engine.memoryDomain);
      if (use !== undefined) domain.policy = policyAfter(domain.policy, use);
    },
    /** Takes the capacity of the domain from a measured state of its memory. */
    measured(engine: Engine, state: MemoryState) {
      const evictable = state.resident.filter(({ isPinned }) => !isPinned);
      const released = evictable.reduce((sum, entry) => sum + Math.max(entry.sizeBytes, entry.mappedBytes), 0);
      domainOf(engine.memoryDomain).capacityBytes = freeBytes(state) + released;
    },
    /**
     * The expected cost of losing each model in seconds, by id; undefined before its first request. `next` is the model
     * that a load is planned for, which counts as used already: what the shadow caches evict for it must be known before
     * the load evicts. Its size is used if the policy knows none.
     */
    losses(engine: Engine, next?: Model): (id: string) => number | undefined {
      const { policy } = domainOf(engine.memoryDomain);
      const use = next && useOf(engine, next);
      const sizeBytes = policy.models.get(use?.key ?? "")?.sizeBytes ?? use?.sizeBytes ?? 0;
      const then = use === undefined ? policy : policyAfter(policy, { ...use, sizeBytes });
      return (id) => expectedLossSeconds(then, id);
    },
    /** The name may refer to other weights now. `id` is a `modelId`. */
    forget(id: string) {
      for (const domain of domains.values()) domain.policy = policyWithout(domain.policy, id);
    },
  };
}
