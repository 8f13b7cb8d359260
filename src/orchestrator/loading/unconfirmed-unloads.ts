/** Models whose unload was requested but not confirmed. Ids name engine and model. */
export interface UnconfirmedUnloads {
  note(id: string): void;
  forget(id: string): void;
  has(id: string): boolean;
}

/** No load waits for such a model during this time; after it the model may be evicted again. */
const retryAfterMs = 600_000;

/** `now`: milliseconds of a clock that nobody sets. */
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
