/** The middle value, or the mean of the two middle ones. Throws on an empty list. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (upper === undefined || lower === undefined) throw new Error("median of no values");
  return (upper + lower) / 2;
}

/** Rounded to so many decimals, as a number: what tables and JSON show. */
export function rounded(value: number, decimals = 1): number {
  return Number(value.toFixed(decimals));
}

/** The smallest value that so many percent of the values don't exceed (nearest rank). Throws on an empty list. */
export function percentile(values: readonly number[], percent: number): number {
  const value = values.toSorted((a, b) => a - b)[Math.ceil((percent / 100) * values.length) - 1];
  if (value === undefined) throw new Error("percentile of no values");
  return value;
}
