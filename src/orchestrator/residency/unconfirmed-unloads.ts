/** Models whose unload was requested but not confirmed. Ids are `modelId`s. */
export interface UnconfirmedUnloads {
  note(id: string): void;
  forget(id: string): void;
  has(id: string): boolean;
}

/** The model is not evicted again during this time. */
const retryAfterMs = 600_000;

/** `now`: milliseconds of a monotonic clock. */
export function createUnconfirmedUnloads(now: () => number): UnconfirmedUnloads {
  const sinceMs = new Map<string, number>();
  return {
    note: (id) => void sinceMs.set(id, now()),
    forget: (id) => void sinceMs.delete(id),
    has(id) {
      const since = sinceMs.get(id);
      return since !== undefined && now() - since < retryAfterMs;
    },
  };
}
