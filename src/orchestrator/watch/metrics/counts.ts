/** What is counted of requests, and how counts are added: pure. */
import { Cancelled } from "../../api/errors.ts";
import type { EndedAttempt, EndedRequest } from "../../api/events.ts";
import type { Distribution, Figures } from "../../api/facade-metrics.ts";
import { type MoneyTally, addPaid, nanosPerUnit } from "../../api/cost.ts";

/** In the order in which they are stored. */
export const sums = [
  "requests",
  "answered",
  "failed",
  "cancelled",
  "fallbacks",
  "promptTokens",
  "cachedPromptTokens",
  "completionTokens",
  "timedTokens",
  "decodeMs",
  "restoredPromptTokens",
] as const;
/** `total`: of answered requests; of failed ones and of comparisons apart. Older files have the first four. */
export const times = ["queue", "load", "firstToken", "total", "failure", "comparison"] as const;

/** Sums; durations in milliseconds. `timedTokens`: those whose decode time is known. */
export interface Counts
  extends Record<(typeof sums)[number], number>, Readonly<Record<(typeof times)[number], Histogram>> {
  /** Since the epoch. */
  lastUsedMs: number;
  /** The largest prompt with its answer. */
  largestTokens: number;
  readonly errors: Record<string, number>;
}

export function emptyCounts(): Counts {
  const zeros = Object.fromEntries(sums.map((name) => [name, 0])) as Record<(typeof sums)[number], number>;
  return {
    ...zeros,
    lastUsedMs: 0,
    largestTokens: 0,
    errors: {},
    queue: [],
    load: [],
    firstToken: [],
    total: [],
    failure: [],
    comparison: [],
  };
}

/** What requests are counted by. A request that failed before a model was chosen has neither model nor engine. */
export const names = ["model", "engine", "profile", "client", "task"] as const;
export type NameKind = (typeof names)[number];
export type Names = Readonly<Record<NameKind, string>>;

export function namesOf(nameOf: (kind: NameKind) => string): Names {
  return Object.fromEntries(names.map((kind) => [kind, nameOf(kind)])) as Names;
}

/** Counts of requests with the same names. */
export interface Row {
  readonly names: Names;
  readonly counts: Counts;
}

/** Adds a request to the rows of its attempts. `rowOf` finds or makes the row of these names. */
export function countRequest(request: EndedRequest, nowMs: number, rowOf: (given: Names) => Counts): void {
  const { client, task, profile, attempts, error } = request;
  const own = (model: string, engine: string): Counts => rowOf({ model, engine, profile, client, task });
  for (const attempt of attempts) countAttempt(own(attempt.model, attempt.engine), attempt, nowMs);
  const last = attempts.at(-1);
  const counts = own(last?.model ?? "", last?.engine ?? "");
  counts.requests += 1;
  counts.fallbacks += request.fallbacks;
  counts.lastUsedMs = Math.max(counts.lastUsedMs, nowMs);
  if (error?.code === cancelled) counts.cancelled += 1;
  else {
    const isCompared = task === "compare";
    record(counts[error !== undefined ? "failure" : isCompared ? "comparison" : "total"], request.totalMs);
    if (error === undefined) counts.answered += 1;
    else {
      counts.failed += 1;
      // Otherwise the failures of its attempts are its errors.
      if (!attempts.some((attempt) => isFailure(attempt.error))) countError(counts, error);
    }
  }
}

function countAttempt(counts: Counts, attempt: EndedAttempt, nowMs: number): void {
  const { promptTokens = 0, cachedPromptTokens = 0, completionTokens = 0, decodeMs = 0, loadMs = 0 } = attempt;
  counts.lastUsedMs = Math.max(counts.lastUsedMs, nowMs);
  counts.largestTokens = Math.max(counts.largestTokens, promptTokens + completionTokens);
  counts.promptTokens += promptTokens;
  counts.cachedPromptTokens += cachedPromptTokens;
  counts.restoredPromptTokens += attempt.restoredPromptTokens ?? 0;
  counts.completionTokens += completionTokens;
  // The time of the first token belongs to the prompt.
  if (completionTokens > 1 && decodeMs > 0) {
    counts.timedTokens += completionTokens;
    counts.decodeMs += Math.round(decodeMs);
  }
  if (isFailure(attempt.error)) countError(counts, attempt.error);
  if (attempt.queueMs !== undefined) record(counts.queue, attempt.queueMs);
  if (loadMs > 0) record(counts.load, loadMs);
  if (attempt.firstTokenMs !== undefined) record(counts.firstToken, attempt.firstTokenMs);
}

const cancelled = Cancelled.facts.code;

function isFailure(error: EndedAttempt["error"]): error is NonNullable<typeof error> {
  return error !== undefined && error.code !== cancelled;
}

function countError({ errors }: Counts, { code }: NonNullable<EndedAttempt["error"]>): void {
  errors[code] = (errors[code] ?? 0) + 1;
}

/** Adds what money is computed from. `countFor` finds or makes the count of this task and client. */
export function countMoney(
  { client, task, attempts, fileTokens, error }: EndedRequest,
  countFor: (task: string, client: string) => MoneyTally,
): void {
  // A request that failed saved nothing, whatever its models read and wrote.
  const isAnswered = error === undefined;
  const counted = attempts.filter(
    ({ promptTokens, charge, error: failure, decodeMs }) =>
      charge !== undefined ||
      // What broke off saved nothing, either; an answer that did not pass its check has its times.
      (isAnswered && promptTokens !== undefined && (failure === undefined || decodeMs !== undefined)),
  );
  if (fileTokens === 0 && counted.length === 0) return;
  const count = countFor(task, client);
  count.fileTokens += fileTokens;
  for (const { isLocal, charge, promptTokens = 0, completionTokens = 0 } of counted) {
    if (isLocal && isAnswered) {
      count.promptTokens += promptTokens;
      count.completionTokens += completionTokens;
    }
    if (charge === undefined) continue;
    const nanos = Math.round(charge.amount * nanosPerUnit);
    addPaid(count.paid, { currency: charge.currency, nanos, tokens: charge.tokens });
  }
}

export function mergeCounts(into: Counts, from: Counts): void {
  mergeSums(into, from);
  for (const name of times) mergeHistogram(into[name], from[name]);
}

/** All but the times. */
export function mergeSums(into: Counts, from: Counts): void {
  for (const name of sums) into[name] += from[name];
  into.lastUsedMs = Math.max(into.lastUsedMs, from.lastUsedMs);
  into.largestTokens = Math.max(into.largestTokens, from.largestTokens);
  for (const [name, count] of Object.entries(from.errors)) into.errors[name] = (into.errors[name] ?? 0) + count;
}

export function figuresOf(counts: Counts): Figures {
  const {
    timedTokens,
    decodeMs,
    lastUsedMs,
    largestTokens: _,
    errors,
    queue,
    load,
    firstToken,
    total,
    failure,
    comparison,
    ...numbers
  } = counts;
  return {
    ...numbers,
    errors: { ...errors },
    queueMs: percentilesOf(queue),
    loadMs: percentilesOf(load),
    firstTokenMs: percentilesOf(firstToken),
    totalMs: percentilesOf(total),
    failedMs: percentilesOf(failure),
    comparedMs: percentilesOf(comparison),
    tokensPerSecond: decodeMs === 0 ? 0 : (timedTokens * 1000) / decodeMs,
    ...(lastUsedMs === 0 ? {} : { lastUsedAt: new Date(lastUsedMs).toISOString() }),
  };
}

function percentilesOf(histogram: Histogram): Figures["totalMs"] {
  return { count: countOf(histogram), p50: percentileMs(histogram, 0.5), p95: percentileMs(histogram, 0.95) };
}

/**
 * Durations in buckets whose bounds grow by 2^(1/8): the upper bound of a bucket is at most 9.1 % above any duration in it.
 * The first entry is the sum in milliseconds; then bucket, count, bucket, count, ... in rising order.
 */
type Histogram = number[];

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

function addTo(histogram: Histogram, bucket: number, more: number): void {
  let at = 1;
  while (at < histogram.length && (histogram[at] as number) < bucket) at += 2;
  if (histogram[at] === bucket) (histogram[at + 1] as number) += more;
  else histogram.splice(at, 0, bucket, more);
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
export function cumulative(histogram: readonly number[]): Distribution["bounds"] {
  const bounds: Distribution["bounds"][number][] = [];
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
