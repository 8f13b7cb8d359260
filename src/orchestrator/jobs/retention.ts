export interface StoredJob {
  readonly id: string;
  /** Milliseconds since the epoch; absent while the job is running. */
  readonly endedAtMs?: number;
  readonly bytes: number;
}

/**
 * Ids of the jobs to remove: those that ended more than `keepHours` ago, then, oldest end first, as many as necessary to
 * get below `maxBytes`. Running jobs are never removed and don't count.
 */
export function expiredJobs(
  jobs: readonly StoredJob[],
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
