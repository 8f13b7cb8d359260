/** What is counted of requests, and how counts are added: pure. */
import { Cancelled } from "../../api/errors.ts";
import type { EndedAttempt, EndedRequest } from "../../api/events.ts";
import type { Figures, Percentiles } from "../../api/facade-metrics.ts";
import { type MoneyTally, addPaid, nanosPerUnit } from "../../api/cost.ts";
import { type Histogram, countOf, mergeHistogram, percentileMs, record } from "./histogram.ts";

/** Sums; durations in milliseconds. */
export interface Counts {
  requests: number;
  answered: number;
  failed: number;
  cancelled: number;
  fallbacks: number;
  promptTokens: number;
  cachedPromptTokens: number;
  completionTokens: number;
  /** Tokens whose decode time is known. */
  timedTokens: number;
  decodeMs: number;
  /** Since the epoch. */
  lastUsedMs: number;
  /** The largest prompt with its answer. */
  largestTokens: number;
  readonly errors: Record<string, number>;
  readonly queue: Histogram;
  readonly load: Histogram;
  readonly firstToken: Histogram;
  readonly total: Histogram;
}

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
] as const satisfies readonly (keyof Counts)[];
export const times = ["queue", "load", "firstToken", "total"] as const satisfies readonly (keyof Counts)[];

export function emptyCounts(): Counts {
  const zeros = Object.fromEntries(sums.map((name) => [name, 0])) as Record<(typeof sums)[number], number>;
  return { ...zeros, lastUsedMs: 0, largestTokens: 0, errors: {}, queue: [], load: [], firstToken: [], total: [] };
}

/** What requests are counted by. A request that failed before a model was chosen has neither model nor engine. */
export const names = ["model", "engine", "profile", "client", "task"] as const;
export type NameKind = (typeof names)[number];
export type Names = Readonly<Record<NameKind, string>>;

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
    record(counts.total, request.totalMs);
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

/** Whether a request or an attempt worked; undefined if it says nothing of that: cancelled, or refused for what it asked. */
export function hasWorked(error: EndedAttempt["error"]): boolean | undefined {
  if (error === undefined) return true;
  return error.blames === "request" ? undefined : false;
}

/** Adds what money is computed from. `countOf` finds or makes the count of this day, task and client. */
export function countMoney(
  { client, task, attempts, fileTokens, error }: EndedRequest,
  nowMs: number,
  countFor: (day: string, task: string, client: string) => MoneyTally,
): void {
  // A request that failed saved nothing, whatever its models read and wrote.
  const isAnswered = error === undefined;
  const counted = attempts.filter(
    ({ promptTokens, charge }) => charge !== undefined || (isAnswered && promptTokens !== undefined),
  );
  if (fileTokens === 0 && counted.length === 0) return;
  const count = countFor(new Date(nowMs).toISOString().slice(0, 10), task, client);
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
  const { timedTokens, decodeMs, lastUsedMs } = counts;
  return {
    requests: counts.requests,
    answered: counts.answered,
    failed: counts.failed,
    cancelled: counts.cancelled,
    errors: { ...counts.errors },
    fallbacks: counts.fallbacks,
    queueMs: percentilesOf(counts.queue),
    loadMs: percentilesOf(counts.load),
    firstTokenMs: percentilesOf(counts.firstToken),
    totalMs: percentilesOf(counts.total),
    promptTokens: counts.promptTokens,
    cachedPromptTokens: counts.cachedPromptTokens,
    completionTokens: counts.completionTokens,
    tokensPerSecond: decodeMs === 0 ? 0 : (timedTokens * 1000) / decodeMs,
    ...(lastUsedMs === 0 ? {} : { lastUsedAt: new Date(lastUsedMs).toISOString() }),
  };
}

function percentilesOf(histogram: Histogram): Percentiles {
  return { count: countOf(histogram), p50: percentileMs(histogram, 0.5), p95: percentileMs(histogram, 0.95) };
}
