import { percentile, rounded } from "../statistics.ts";

/** One prediction beside what the allocator reserved. */
export interface Comparison {
  readonly predictedBytes: number;
  /** Relative, as the answer states it. */
  readonly margin: number;
  readonly actualBytes: number;
}

/** Rounded percentages; `under` is negative where a prediction was too small. */
export function errorsOf(comparisons: readonly Comparison[]) {
  if (comparisons.length === 0)
    return { loads: 0, p50_pct: 0, p95_pct: 0, worst_under_pct: 0, worst_over_pct: 0, margin_pct: 0, false_fits: 0 };
  const errors = comparisons.map(({ predictedBytes, actualBytes }) => (predictedBytes / actualBytes - 1) * 100);
  const absolute = errors.map(Math.abs);
  return {
    loads: comparisons.length,
    p50_pct: rounded(percentile(absolute, 50), 2),
    p95_pct: rounded(percentile(absolute, 95), 2),
    worst_under_pct: rounded(Math.min(0, ...errors), 2),
    worst_over_pct: rounded(Math.max(0, ...errors), 2),
    /** The widest that was stated. */
    margin_pct: rounded(Math.max(...comparisons.map(({ margin }) => margin)) * 100, 1),
    // "It fits" would have been said of memory that is too small.
    false_fits: comparisons.filter(
      ({ predictedBytes, margin, actualBytes }) => predictedBytes * (1 + margin) < actualBytes,
    ).length,
  };
}
