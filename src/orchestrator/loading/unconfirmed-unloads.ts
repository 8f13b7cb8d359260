/** Models that were told to leave and were not seen to. Ids name engine and model. */
export interface UnconfirmedUnloads {
  note(id: string): void;
  forget(id: string): void;
  has(id: string): boolean;
}

/** So long nobody's load waits for it again; after that it may be chosen once more. */
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
