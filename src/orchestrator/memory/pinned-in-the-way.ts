import { type LoadTarget, type MemoryState, planLoad } from "./plan.ts";
import { withoutReservations } from "./state.ts";

/**
 * Names of pinned models that would make room for `target`, could they be unloaded; none when it wouldn't fit without
 * them either. Busy models count as idle and loads under way as done: they don't stay.
 */
export function pinnedInTheWay(target: LoadTarget, state: MemoryState): readonly string[] {
  const pinned = new Set(state.resident.filter(({ isPinned }) => isPinned).map(({ name }) => name));
  if (pinned.size === 0) return [];
  const freed = state.resident.map((entry) => ({ ...entry, isPinned: false, isBusy: false }));
  const { fits, evict } = planLoad(target, { ...withoutReservations(state), resident: freed });
  return fits ? evict.map(({ name }) => name).filter((name) => pinned.has(name)) : [];
}
