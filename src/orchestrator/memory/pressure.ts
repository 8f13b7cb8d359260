import type { LoadPlan } from "../api/facade-status.ts";
import { chooseEviction } from "./eviction.ts";
import { formatBytes } from "../util/format-bytes.ts";
import { releasedBytes } from "./limits.ts";
import { candidateOf, keyOf } from "./plan.ts";
import { type LoadTarget, type MemoryState, isEvictable, isOfTarget } from "./state.ts";

/** Load of the machine beside its memory. */
export interface Pressure {
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
  /** Runnable processes per core over the last minute; absent on Windows, which doesn't report it. */
  readonly loadPerCore?: number;
}

/** A little swap is normal; this much means that memory was short. */
const notableSwapBytes = 256 * 1024 ** 2;
/** A model that computes on every core makes 1; more than this is caused by other programs. */
const notableLoad = 1.25;

/** Why answers will be slow now, one sentence each; empty if there is no reason. */
export function pressureWarnings(pressure: Pressure): readonly string[] {
  return [shortMemory(pressure), busyProcessor(pressure)].flatMap((reason) =>
    reason === undefined ? [] : [`${reason}: answers will be slow`],
  );
}

/** Undefined if hardly any swap is used. */
export function shortMemory({ swapUsedBytes, swapTotalBytes }: Pressure): string | undefined {
  if (swapUsedBytes < notableSwapBytes) return undefined;
  return `${formatBytes(swapUsedBytes)} of ${formatBytes(swapTotalBytes)} swap in use`;
}

/** Undefined if other programs leave the processor to models. */
export function busyProcessor({ loadPerCore = 0 }: Pressure): string | undefined {
  if (loadPerCore <= notableLoad) return undefined;
  return `CPU busy (load ${loadPerCore.toFixed(1)} per core)`;
}

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
