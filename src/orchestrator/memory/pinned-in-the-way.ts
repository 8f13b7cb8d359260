import { type LoadTarget, type MemoryState, planLoad } from "./plan.ts";
import { allIdle, withoutReservations } from "./state.ts";

/**
 * Names of pinned models that would make room for `target` if they were unpinned; empty if it would not fit even then.
 * Busy models count as idle and loads in progress as done.
 */
export function pinnedInTheWay(target: LoadTarget, state: MemoryState): readonly string[] {
  const pinned = new Set(state.resident.filter(({ isPinned }) => isPinned).map(({ name }) => name));
  if (pinned.size === 0) return [];
  const idle = withoutReservations(allIdle(state));
  const freed = idle.resident.map((entry) => ({ ...entry, isPinned: false }));
  const { fits, evict } = planLoad(target, { ...idle, resident: freed });
  return fits ? evict.map(({ name }) => name).filter((name) => pinned.has(name)) : [];
}
