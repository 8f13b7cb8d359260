import type { Leases } from "./leases.ts";

/** Which models may not be taken out of memory now, and which are on their way out. Ids name engine and model. */
export interface Occupancy {
  /** In use, or being loaded. */
  isBusy(id: string): boolean;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  mayBeEvicted(id: string): boolean;
  /** Loaded this very turn: whoever waited for the load is about to take a lease. */
  isSettling(id: string): boolean;
  /** Marks a model as loading, so that nobody evicts it; the answer undoes that and what `alsoRelease` stands for. */
  occupy(id: string, alsoRelease: () => void): () => void;
  /** Keeps new answers away from `ids` until `work` has ended. */
  whileEvicting<Result>(ids: readonly string[], work: () => Promise<Result>): Promise<Result>;
}

/** `changed` is called when a load begins and when it has ended. */
export function createOccupancy(leases: Leases, changed: () => void): Occupancy {
  const loading = new Map<string, number>();
  const settling = new Set<string>();
  const evicting = new Map<string, number>();
  const count = (counts: Map<string, number>, id: string, change: 1 | -1): void => {
    const next = (counts.get(id) ?? 0) + change;
    if (next > 0) counts.set(id, next);
    else counts.delete(id);
  };
  const isBusy = (id: string): boolean => leases.isTaken(id) || loading.has(id);

  return {
    isBusy,
    isLoading: (id) => loading.has(id),
    isEvicting: (id) => evicting.has(id),
    isSettling: (id) => settling.has(id),
    mayBeEvicted: (id) => !isBusy(id) && !settling.has(id),
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
