export interface KeptJob {
  readonly id: string;
  /** Milliseconds since the epoch; absent while it runs. */
  readonly endedAtMs?: number;
  readonly bytes: number;
}

/**
 * Which jobs are to be forgotten: those that ended longer ago than `keepHours`, then, oldest end first, as many as it
 * takes to get below `maxBytes`. What runs is never forgotten, nor does it count.
 */
export function expiredJobs(
  jobs: readonly KeptJob[],
  limits: { readonly nowMs: number; readonly keepHours: number; readonly maxBytes: number },
): readonly string[] {
  const ended = jobs
    .flatMap(({ id, endedAtMs, bytes }) => (endedAtMs === undefined ? [] : [{ id, endedAtMs, bytes }]))
    .toSorted((a, b) => b.endedAtMs - a.endedAtMs);
  let keptBytes = 0;
  return ended
    .filter(({ endedAtMs, bytes }) => {
      if (endedAtMs + limits.keepHours * 3_600_000 <= limits.nowMs) return true;
      keptBytes += bytes;
      return keptBytes > limits.maxBytes;
    })
    .map(({ id }) => id);
}
