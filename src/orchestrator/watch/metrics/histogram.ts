import type { Bound } from "../../api/facade-metrics.ts";

/**
 * Durations in buckets whose bounds grow by 2^(1/8): the upper bound of a bucket is at most 9.1 % above any duration in it.
 * The first entry is the sum in milliseconds; then bucket, count, bucket, count, ... in rising order.
 */
export type Histogram = number[];

const perDoubling = 8;
/** Four and a half hours; longer durations count as that. */
const maxBucket = 24 * perDoubling;
/** Rounding must not lift a duration of exactly 2^n ms, the bound of a bucket, into the next one. */
const tolerance = 1e-9;

/** The bucket of a duration in milliseconds; the first one takes all up to 1 ms. */
function bucketOf(ms: number): number {
  if (!(ms > 1)) return 0;
  return Math.min(maxBucket, Math.max(0, Math.ceil(Math.log2(ms) * perDoubling - tolerance)));
}

/** Its upper bound in milliseconds. */
function boundOf(bucket: number): number {
  return 2 ** (bucket / perDoubling);
}

export function record(histogram: Histogram, ms: number): void {
  const whole = Number.isFinite(ms) ? Math.max(0, ms) : 0;
  histogram[0] = (histogram[0] ?? 0) + Math.round(whole);
  addTo(histogram, bucketOf(whole), 1);
}

export function mergeHistogram(into: Histogram, from: readonly number[]): void {
  if (from.length === 0) return;
  into[0] = (into[0] ?? 0) + (from[0] ?? 0);
  for (let at = 1; at + 1 < from.length; at += 2) addTo(into, from[at] as number, from[at + 1] as number);
}

function addTo(histogram: Histogram, bucket: number, times: number): void {
  let at = 1;
  while (at < histogram.length && (histogram[at] as number) < bucket) at += 2;
  if (histogram[at] === bucket) (histogram[at + 1] as number) += times;
  else histogram.splice(at, 0, bucket, times);
}

export function countOf(histogram: readonly number[]): number {
  let count = 0;
  for (let at = 2; at < histogram.length; at += 2) count += histogram[at] as number;
  return count;
}

/** Nearest rank: the upper bound, in milliseconds, of the bucket with this share of the durations; 0 without any. */
export function percentileMs(histogram: readonly number[], share: number): number {
  const rank = Math.max(1, Math.ceil(countOf(histogram) * share));
  let count = 0;
  for (let at = 1; at + 1 < histogram.length; at += 2) {
    count += histogram[at + 1] as number;
    if (count >= rank) return rounded(boundOf(histogram[at] as number));
  }
  return 0;
}

/** Bounds below 100 ms keep a decimal. */
function rounded(ms: number): number {
  return ms < 100 ? Math.round(ms * 10) / 10 : Math.round(ms);
}

/** How many durations are at most 1, 2, 4, ... ms: exact, as these are bounds of buckets. The last one has all. */
export function cumulative(histogram: readonly number[]): readonly Bound[] {
  const bounds: Bound[] = [];
  let count = 0;
  let at = 1;
  for (let bucket = 0; bucket <= maxBucket; bucket += perDoubling) {
    for (; at + 1 < histogram.length && (histogram[at] as number) <= bucket; at += 2)
      count += histogram[at + 1] as number;
    bounds.push({ upToMs: boundOf(bucket), count });
  }
  return bounds;
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** For the disk: `1840K3B12`: the sum, then each bucket as the distance from the one before, in letters, and its count. */
export function histogramText(histogram: readonly number[]): string {
  if (histogram.length === 0) return "";
  let text = String(histogram[0]);
  let before = 0;
  for (let at = 1; at + 1 < histogram.length; at += 2) {
    const bucket = histogram[at] as number;
    const distance = bucket - before;
    const high = distance < digits.length ? "" : digits.charAt(Math.floor(distance / digits.length));
    text += `${high}${digits.charAt(distance % digits.length)}${histogram[at + 1]}`;
    before = bucket;
  }
  return text;
}

/** The histogram of such a text. */
export function histogramOf(text: string): Histogram {
  const [, sum] = /^(\d+)/.exec(text) ?? [];
  if (sum === undefined) return [];
  const histogram: Histogram = [Number(sum)];
  let bucket = 0;
  for (const [, high = "", low = "", count] of text.matchAll(/([A-Z]?)([A-Z])(\d+)/g)) {
    bucket += Math.max(0, digits.indexOf(high)) * digits.length + digits.indexOf(low);
    histogram.push(bucket, Number(count));
  }
  return histogram;
}
