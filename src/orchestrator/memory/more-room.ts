import { chooseEviction } from "../residency/decide/eviction.ts";
import type { LoadPlan } from "../api/types.ts";
import { releasedBytes } from "./limits.ts";
import { candidateOf, keyOf } from "./plan.ts";
import { isEvictable, isOfTarget, type LoadTarget, type MemoryState } from "./state.ts";

/**
 * What to evict after a load ran out of memory although its plan fitted: the cheapest set that frees `bytes`, or all
 * evictable models if they don't suffice; never the model of that load itself. Empty if nothing can be evicted.
 */
export function moreToEvict(
  target: Pick<LoadTarget, "model" | "engine" | "slot">,
  bytes: number,
  state: MemoryState,
): LoadPlan["evict"] {
  const evictable = state.resident.filter((entry) => isEvictable(entry) && !isOfTarget(entry, target));
  const keys = chooseEviction({
    bytesToFree: bytes,
    smallModelBytes: state.smallModelBytes,
    candidates: evictable.map((entry) => candidateOf(entry, releasedBytes(entry))),
  });
  const victims = keys === undefined ? evictable : evictable.filter((entry) => keys.includes(keyOf(entry)));
  return victims.map((entry) => ({ name: entry.name, engine: entry.engine, bytes: releasedBytes(entry) }));
}
