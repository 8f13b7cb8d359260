import type { Leases } from "./leases.ts";

/**
 * Which models are in use, loading or being evicted. Ids are `modelId`s; a state applies to all models of a slot
 * (`Runners.slotOf`).
 */
export interface Occupancy {
  /** In use or loading. */
  isBusy(id: string): boolean;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  mayBeEvicted(id: string): boolean;
  /** Loaded in this turn of the event loop: callers that waited for the load are about to take a lease. */
  isSettling(id: string): boolean;
  /** Marks a model as loading, which prevents its eviction. The returned function ends that and calls `alsoRelease`. */
  occupy(id: string, alsoRelease: () => void): () => void;
  /** Prevents new answers of `ids` until `work` has ended. */
  whileEvicting<Result>(ids: readonly string[], work: () => Promise<Result>): Promise<Result>;
}

/** `changed` is called when a load begins and when it has ended. */
export function createOccupancy(leases: Leases, changed: () => void, slotOf: (id: string) => string): Occupancy {
  const loading = new Map<string, number>();
  const settling = new Set<string>();
  const evicting = new Map<string, number>();
  const count = (counts: Map<string, number>, id: string, change: 1 | -1): void => {
    const next = (counts.get(id) ?? 0) + change;
    if (next > 0) counts.set(id, next);
    else counts.delete(id);
  };
  const isAmong = (ids: Iterable<string>, id: string): boolean => {
    for (const other of ids) if (other === id || slotOf(other) === slotOf(id)) return true;
    return false;
  };
  const isLoading = (id: string): boolean => isAmong(loading.keys(), id);
  const isSettling = (id: string): boolean => isAmong(settling, id);
  const isBusy = (id: string): boolean => leases.isTaken(id) || isLoading(id);

  return {
    isBusy,
    isLoading,
    isEvicting: (id) => isAmong(evicting.keys(), id),
    isSettling,
    mayBeEvicted: (id) => !isBusy(id) && !isSettling(id),
    occupy(id, alsoRelease) {
      count(loading, id, 1);
      changed();
      return () => {
        alsoRelease();
        count(loading, id, -1);
        changed();
        settling.add(id);
        setImmediate(() => {
          settling.delete(id);
          leases.wake();
        });
      };
    },
    async whileEvicting(ids, work) {
      for (const id of ids) count(evicting, id, 1);
      try {
        return await work();
      } finally {
        for (const id of ids) count(evicting, id, -1);
      }
    },
  };
}
