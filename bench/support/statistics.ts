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
