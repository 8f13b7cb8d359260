/** What is counted of requests, and how counts are added: pure. */
import { Cancelled, OrchestratorError } from "../../api/errors.ts";
import type { Figures, Percentiles } from "../../api/facade-metrics.ts";
import { nanosPerUnit } from "../../routing/cost.ts";
import { estimateTokens } from "../../routing/tokens.ts";
import { type Histogram, countOf, mergeHistogram, percentileMs, record } from "./histogram.ts";

/** One request of an engine: an answer, or why there is none. Answers in parts, corrections and votes need several. */
export interface EndedAttempt {
  readonly model: string;
  readonly engine: string;
  /** Its tokens cost nothing. */
  readonly isLocal: boolean;
  /** From the queue to the end. */
  readonly totalMs: number;
  readonly queueMs?: number;
  readonly loadMs?: number;
  readonly firstTokenMs?: number;
  readonly promptTokens?: number;
  readonly cachedPromptTokens?: number;
  readonly completionTokens?: number;
  readonly decodeMs?: number;
  /** Also of an attempt that failed. */
  readonly charge?: Charge;
  /** Absent: it answered. A cancelled attempt is neither an answer nor an error. */
  readonly error?: unknown;
}

/** What a paid engine charged. */
interface Charge {
  readonly amount: number;
  readonly currency: string;
  /** Prompt and answer; estimated for an answer that was cut off. */
  readonly tokens: number;
}

/** A request that ended, with everything that was asked of engines for it. */
export interface EndedRequest {
  readonly client: string;
  /** `compare`: an answer, or a judgement, of a comparison. */
  readonly task: string;
  readonly profile: string;
  /** From the call to the answer. */
  readonly totalMs: number;
  /** Attempts that failed before another one answered. */
  readonly fallbacks: number;
  readonly attempts: readonly EndedAttempt[];
  /** Texts of files that were read here. */
  readonly files: readonly string[];
  /** Absent: it was answered. */
  readonly error?: unknown;
}

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

/** Takes the place of names beyond a bound. */
export const otherName = "other";
const maxNameCharacters = 100;

/** A name as it is counted: clients and pages choose theirs. Names are joined by line feeds (`keyOf`). */
export function cleanName(name: string): string {
  const short = name.length > maxNameCharacters ? `${name.slice(0, maxNameCharacters)}…` : name;
  return /[\p{C}\p{Zl}\p{Zp}]/u.test(short) ? short.replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ").trim() : short;
}

/** Counts of requests with the same names. */
export interface Row {
  readonly names: Names;
  readonly counts: Counts;
}

/** What money is computed from, of one UTC day, task and client. */
export interface MoneyCount {
  /** `2026-11-23` */
  readonly day: string;
  readonly task: string;
  readonly client: string;
  /** Tokens of local models, for requests that were answered. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Tokens of files that were read here. */
  readonly fileTokens: number;
  /** What paid engines charged. */
  readonly paid: readonly Readonly<Paid>[];
}

/** A `MoneyCount` that grows. */
export interface MoneyTally extends MoneyCount {
  promptTokens: number;
  completionTokens: number;
  fileTokens: number;
  readonly paid: Paid[];
}

interface Paid {
  readonly currency: string;
  /** Billionths of the currency. */
  nanos: number;
  tokens: number;
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
  if (error instanceof Cancelled) counts.cancelled += 1;
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

function isFailure(error: unknown): boolean {
  return error !== undefined && !(error instanceof Cancelled);
}

function countError({ errors }: Counts, error: unknown): void {
  const name = errorClass(error);
  errors[name] = (errors[name] ?? 0) + 1;
}

/** `internal` is a defect. */
export function errorClass(error: unknown): string {
  return error instanceof OrchestratorError ? error.facts.code : "internal";
}

/** Whether a request or an attempt worked; undefined if it says nothing of that: cancelled, or refused for what it asked. */
export function hasWorked(error: unknown): boolean | undefined {
  if (error === undefined) return true;
  return error instanceof OrchestratorError && error.facts.blames === "request" ? undefined : false;
}

/** Adds what money is computed from. `countOf` finds or makes the count of this day, task and client. */
export function countMoney(
  { client, task, attempts, files, error }: EndedRequest,
  nowMs: number,
  countFor: (day: string, task: string, client: string) => MoneyTally,
): void {
  // A request that failed saved nothing, whatever its models read and wrote.
  const isAnswered = error === undefined;
  const fileTokens = isAnswered ? files.reduce((tokens, text) => tokens + estimateTokens(text), 0) : 0;
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

function addPaid(paid: Paid[], added: Readonly<Paid>): void {
  const same = paid.find(({ currency }) => currency === added.currency);
  if (same === undefined) paid.push({ ...added });
  else {
    same.nanos += added.nanos;
    same.tokens += added.tokens;
  }
}

export function mergeMoney(into: MoneyTally, from: MoneyCount): void {
  into.promptTokens += from.promptTokens;
  into.completionTokens += from.completionTokens;
  into.fileTokens += from.fileTokens;
  for (const each of from.paid) addPaid(into.paid, each);
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
