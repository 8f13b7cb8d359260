import type { MemoryEstimate } from "../types.ts";

/** A model that occupies the memory domain now. */
export interface ResidentEntry {
  readonly name: string;
  readonly engine: string;
  /** Equal for models of which only one can be in memory; absent: its name alone tells (`Runners.slotOf`). */
  readonly slot?: string;
  /** Everything it occupies, file-mapped bytes and those on graphics cards included. */
  readonly sizeBytes: number;
  /** The part of `sizeBytes` that lies on graphics cards; which of several is not known. */
  readonly vramBytes?: number;
  /** File-mapped part of `sizeBytes`: MemAvailable counts it as free, and it is not. 0 when nothing is mapped. */
  readonly mappedBytes: number;
  /** Serving or loading: stays. */
  readonly isBusy: boolean;
  /** Kept on purpose: stays. */
  readonly isPinned: boolean;
  /** What evicting it is expected to cost (`expectedLossSeconds` of the policy), or its load time. */
  readonly reloadSeconds?: number;
  readonly lastUsedMs: number;
  /** Another program loaded or touched it: evicted last. */
  readonly isForeign: boolean;
  /** Somebody waits for it: evicted after those that nobody waits for. */
  readonly isAwaited?: boolean;
  /** Its unload was not confirmed: it is not evicted again for a while, and its memory counts as taken. */
  readonly hasUnconfirmedUnload?: boolean;
}

/** A graphics card with a memory of its own. */
export interface GpuState {
  /** Tells the cards of a machine apart. */
  readonly name: string;
  readonly totalBytes: number;
  /** As its driver says, with everything that is loaded now; absent where it doesn't say. */
  readonly freeBytes?: number;
  /** Loads in progress. */
  readonly reservedBytes: number;
}

/** One memory domain at the moment of planning. */
export interface MemoryState {
  /** Measured (MemAvailable, the cgroup's room), or `memory.availableBytes`. */
  readonly availableBytes: number;
  /** `availableBytes` is the setting: nothing is subtracted for mapped files, a loaded model gives back its full size. */
  readonly isOverridden: boolean;
  readonly bufferBytes: number;
  /** `memory.maxBytes`: most that models may use in all. */
  readonly maxBytes?: number;
  readonly smallModelBytes: number;
  /** Loads in progress, in RAM, without the one that is being planned. */
  readonly reservedBytes: number;
  readonly resident: readonly ResidentEntry[];
  /**
   * Absent or empty: one memory for everything. So it is without cards, where a graphics unit shares the RAM (Apple,
   * integrated ones), and where `memory.availableBytes` stands for all of it.
   */
  readonly gpus?: readonly GpuState[];
  /** The engine that loads puts onto cards what it can. */
  readonly mayUseGpus?: boolean;
  /** Why the machine is slow now, a sentence each. */
  readonly warnings?: readonly string[];
}

export interface LoadTarget {
  readonly model: string;
  readonly engine: string;
  /** Of `ResidentEntry`. */
  readonly slot?: string;
  readonly contextTokens: number;
  readonly estimate: MemoryEstimate;
  /** Bytes on disk, for the rule of models without metadata. */
  readonly fileBytes: number;
  /** Resident with enough context: nothing to do. */
  readonly isLoaded: boolean;
  /** The name under which it is, where that is another. */
  readonly loadedAs?: string;
}

/** What a load of the target takes the place of. */
export function isOfTarget(
  entry: Pick<ResidentEntry, "name" | "engine" | "slot">,
  { model, engine, slot }: Pick<LoadTarget, "model" | "engine" | "slot">,
): boolean {
  return entry.engine === engine && (entry.name === model || (slot !== undefined && entry.slot === slot));
}

export function isSomeReserved({ reservedBytes, gpus = [] }: MemoryState): boolean {
  return reservedBytes > 0 || gpus.some((gpu) => gpu.reservedBytes > 0);
}

/** As if all answers under way were given. */
export function allIdle(state: MemoryState): MemoryState {
  return { ...state, resident: state.resident.map((entry) => ({ ...entry, isBusy: false })) };
}

/** As if all loads in progress were done and gone. */
export function withoutReservations(state: MemoryState): MemoryState {
  const { gpus } = state;
  return {
    ...state,
    reservedBytes: 0,
    ...(gpus === undefined ? {} : { gpus: gpus.map((gpu) => ({ ...gpu, reservedBytes: 0 })) }),
  };
}
