import type { Machine } from "./machine.ts";
import { has, type ResidentSet, type ResidentSets } from "./resident-sets.ts";

/**
 * The least reload seconds with which the requests can be served in their order, all of them known beforehand, from an
 * empty memory: a dynamic programme over the sets that may be resident (reference "Eviction"). Exact.
 */
export function optimalSeconds(machine: Machine, requests: readonly number[], sets: ResidentSets): number {
  let costs = new Map<ResidentSet, number>([[0, 0]]);
  for (const model of requests) {
    const loadSeconds = machine.models[model]?.loadSeconds ?? 0;
    const next = new Map<ResidentSet, number>();
    const offer = (set: ResidentSet, cost: number) => {
      const known = next.get(set);
      if (known === undefined || cost < known) next.set(set, cost);
    };
    for (const [set, cost] of costs) {
      if (has(set, model)) offer(set, cost);
      else for (const after of sets.after(set, model)) offer(after, cost + loadSeconds);
    }
    costs = next;
  }
  return Math.min(...costs.values());
}
