/** Whether latency and success rate keep their thresholds, and why not: pure. */
import type { Advice } from "../../api/facade-status.ts";
import { type NextStep, advice } from "../../api/next-step.ts";
import { oneLine } from "../../util/control-characters.ts";
import { counted, formatDuration } from "../../util/format-bytes.ts";

/** A request of a profile, or to a model. Milliseconds. */
interface WatchedRequest {
  readonly atMs: number;
  readonly model: string;
  /** Class of its error; absent: it was answered. */
  readonly error?: string;
  readonly queueMs: number;
  readonly loadMs: number;
  /** From the call of the engine. */
  readonly firstTokenMs: number;
  readonly promptTokens: number;
}

interface Limits {
  readonly maxLatencyMs?: number | undefined;
  readonly minSuccessRate?: number | undefined;
}

export type ThresholdKind = "latency" | "success_rate";

/** A profile or a model. */
export interface Subject {
  readonly kind: "profile" | "model";
  readonly name: string;
}

/** A figure of the recent requests: milliseconds, or a share from 0 to 1. */
interface Reading {
  readonly value: number;
  /** Requests that it was measured on. */
  readonly count: number;
}

/**
 * | state    | entered by                                                | left by                                            |
 * |----------|-----------------------------------------------------------|----------------------------------------------------|
 * | kept     | at first, `settled`                                       | the threshold is crossed                           |
 * | breached | the threshold is crossed                                  | clearly kept, or too few requests to tell          |
 * | settling | clearly kept, or too few requests to tell                 | that ends (breached); it lasts 5 minutes (kept)    |
 *
 * So a figure that moves around its threshold changes the state once, and each breach lasts 5 minutes at least.
 */
interface Breach {
  readonly sinceMs: number;
  /** Start of settling. */
  readonly keptSinceMs?: number;
}

/** Recent requests: the newest 20 of the last hour. */
const maxRecent = 20;
const recentMs = 3_600_000;
/** With fewer requests nothing is said, unless it is breached already; with fewer than half of them that ends, too. */
const leastRequests = 10;
const settledMs = 5 * 60_000;
/** Clearly kept: a latency of this share of the bound, or this share of the failures that it allows. */
const clearLatency = 0.9;
const clearFailures = 0.5;
/**
 * Without a setting, a model that answers a smaller share is reported. There is no such bound for latency: machines differ
 * too much.
 */
const defaultSuccessRate = 0.5;

export function recentOf(requests: readonly WatchedRequest[], nowMs: number): WatchedRequest[] {
  return requests.filter(({ atMs }) => atMs > nowMs - recentMs).slice(-maxRecent);
}

export function boundOf(kind: ThresholdKind, limits: Limits, of: Subject["kind"]): number | undefined {
  if (kind === "latency") return limits.maxLatencyMs;
  return limits.minSuccessRate ?? (of === "model" ? defaultSuccessRate : undefined);
}

function latencyOf({ queueMs, loadMs, firstTokenMs }: WatchedRequest): number {
  return queueMs + loadMs + firstTokenMs;
}

/**
 * The time to the first token, with queue and load, that 95 % of the answered requests keep, or the share of requests that
 * were answered. Of the percentile's two neighbours it is the lower one: a single slow request of twenty is no breach.
 */
export function readingOf(kind: ThresholdKind, requests: readonly WatchedRequest[]): Reading {
  const answered = requests.filter(({ error }) => error === undefined);
  if (kind === "success_rate") {
    return { value: requests.length === 0 ? 1 : answered.length / requests.length, count: requests.length };
  }
  const sorted = answered.map(latencyOf).toSorted((a, b) => a - b);
  return { value: sorted[Math.floor((sorted.length - 1) * 0.95)] ?? 0, count: sorted.length };
}

/** The state after a reading; undefined: kept. */
export function nextBreach(
  before: Breach | undefined,
  kind: ThresholdKind,
  { value, count }: Reading,
  bound: number | undefined,
  nowMs: number,
): Breach | undefined {
  if (bound === undefined) return undefined;
  if (before === undefined) {
    const isCrossed = kind === "latency" ? value > bound : value < bound;
    return isCrossed && count >= leastRequests ? { sinceMs: nowMs } : undefined;
  }
  const isClear = kind === "latency" ? value <= bound * clearLatency : value >= 1 - (1 - bound) * clearFailures;
  if (!isClear && count >= leastRequests / 2) return { sinceMs: before.sinceMs };
  const keptSinceMs = before.keptSinceMs ?? nowMs;
  return nowMs - keptSinceMs >= settledMs ? undefined : { sinceMs: before.sinceMs, keptSinceMs };
}

/** What the machine did meanwhile. */
export interface Surroundings {
  /** Why answers are slow now: swap, or a busy CPU (`memory/state.ts`). */
  readonly pressure: { readonly swap?: string | undefined; readonly cpu?: string | undefined };
  /** How often a model was evicted in the last hour to make room for another. */
  readonly evictions: (model: string) => number;
}

/** A breach in words: the figure with its bound, the likely cause, and one next step. */
export function describeBreach(
  { kind: of, name }: Subject,
  kind: ThresholdKind,
  bound: number,
  requests: readonly WatchedRequest[],
  surroundings: Surroundings,
  isSettling = false,
): Advice {
  const reading = readingOf(kind, requests);
  const cause = isSettling
    ? settling
    : kind === "latency"
      ? slowBecause(requests, bound, surroundings)
      : failsBecause(requests);
  return {
    kind,
    subject: name,
    text: `${titleOf({ kind: of, name })}: ${figureText(kind, reading)}, ${boundText(kind, bound)}: ${cause.text}`,
    next: cause.next,
  };
}

/** For the log: that it is over. */
export function keptText(subject: Subject, kind: ThresholdKind, bound: number | undefined, reading: Reading): string {
  if (bound === undefined) return `${titleOf(subject)}: the threshold was removed`;
  if (reading.count < leastRequests / 2) return `${titleOf(subject)}: too few requests in the last hour to judge`;
  return `${titleOf(subject)} is within its limit again: ${figureText(kind, reading)}, ${boundText(kind, bound)}`;
}

function titleOf({ kind, name }: Subject): string {
  return kind === "profile" ? `profile ${oneLine(name)}` : oneLine(name);
}

function figureText(kind: ThresholdKind, { value, count }: Reading): string {
  return kind === "latency"
    ? `first token after ${formatDuration(value)} (p95 of ${counted(count, "request")})`
    : `${Math.round(value * 100)} % of the last ${counted(count, "request")} answered`;
}

function boundText(kind: ThresholdKind, bound: number): string {
  return kind === "latency" ? `${formatDuration(bound)} allowed` : `${Math.round(bound * 100)} % required`;
}

interface Cause {
  readonly text: string;
  readonly next: NextStep;
}

const settling: Cause = {
  text: "it was missed until a few minutes ago",
  next: advice("wait: the warning ends when the limit has been kept for 5 minutes"),
};
const fewerAtOnce = advice("send fewer requests at a time");

/** A prompt of fewer tokens is not long, on any machine. */
const longPromptTokens = 1_000;

/** The largest part of the slow requests' time; without one, what slows down this machine; else long prompts. */
function slowBecause(requests: readonly WatchedRequest[], bound: number, { pressure, evictions }: Surroundings): Cause {
  const answered = requests.filter(({ error }) => error === undefined);
  const slow = answered.filter((request) => latencyOf(request) > bound);
  const among = slow.length === 0 ? answered : slow;
  const half = sum(among, latencyOf) / 2;
  const loads = among.filter(({ loadMs }) => loadMs > 0);
  if (loads.length > 0 && sum(loads, ({ loadMs }) => loadMs) >= half) return loadedOften(loads, among, evictions);
  if (among.length > 0 && sum(among, ({ queueMs }) => queueMs) >= half) {
    const waitMs = mean(among, ({ queueMs }) => queueMs);
    return { text: `they wait ${formatDuration(waitMs)} for others: too many requests at once`, next: fewerAtOnce };
  }
  if (pressure.swap !== undefined) return { text: pressure.swap, next: advice("close programs that use much memory") };
  if (pressure.cpu !== undefined) return { text: pressure.cpu, next: advice("close other programs that use the CPU") };
  const quick = answered.filter((request) => latencyOf(request) <= bound);
  const tokens = mean(among, ({ promptTokens }) => promptTokens);
  if (tokens >= longPromptTokens && tokens >= 2 * mean(quick, ({ promptTokens }) => promptTokens)) {
    return {
      text: `their prompts are long (${Math.round(tokens)} tokens on average)`,
      next: { step: "shortenPrompt" },
    };
  }
  const model = mostOften(among.map((request) => request.model)) ?? "the model";
  return {
    text: `${oneLine(model)} takes ${formatDuration(mean(among, ({ firstTokenMs }) => firstTokenMs))} to begin an answer on this machine`,
    next: { step: "chooseModel", that: "that is smaller" },
  };
}

function loadedOften(
  loads: readonly WatchedRequest[],
  among: readonly WatchedRequest[],
  evictions: Surroundings["evictions"],
): Cause {
  const model = mostOften(loads.map((request) => request.model)) ?? "";
  const evicted = evictions(model);
  const often = `${loads.length} of ${among.length} had to load ${oneLine(model)} first (${formatDuration(mean(loads, ({ loadMs }) => loadMs))} each)`;
  return evicted > 0
    ? {
        text: `${often}: it was evicted ${counted(evicted, "time")} in the last hour to make room for other models`,
        next: { step: "pinModel", model },
      }
    : {
        text: `${often}: it is unloaded between requests`,
        next: { step: "raiseSetting", setting: "model.keepAlive.timeout" },
      };
}

/** The most frequent class of error. */
function failsBecause(requests: readonly WatchedRequest[]): Cause {
  const failed = requests.filter(({ error }) => error !== undefined);
  const error = mostOften(failed.flatMap((request) => request.error ?? []));
  const same = failed.filter((request) => request.error === error);
  const model = mostOften(same.map((request) => request.model)) ?? "";
  const { text, next } = failureCauses[error ?? ""] ?? {
    text: `most failures are ${(error ?? "unknown").replaceAll("_", " ")}`,
    next: checkInstallation,
  };
  const what = text.replace("MODEL", () => (model === "" ? "the model" : oneLine(model)));
  return { text: `${what} (${same.length} of ${counted(failed.length, "failure")})`, next };
}

const checkInstallation = { step: "checkInstallation" } as const;

/** By the code of an error; MODEL stands for its name. */
const failureCauses: Readonly<Record<string, Cause>> = {
  engine_unreachable: { text: "the engine of MODEL does not respond", next: checkInstallation },
  connection_lost: {
    text: "the engine of MODEL ends its connections before its answers are complete",
    next: checkInstallation,
  },
  engine_not_installed: { text: "the engine is not installed", next: checkInstallation },
  load_failed: { text: "MODEL can't be loaded", next: { step: "listDecisions" } },
  out_of_memory: { text: "memory is too short for MODEL", next: { step: "chooseModel", that: "that is smaller" } },
  model_does_not_fit: { text: "memory is too short for MODEL", next: { step: "chooseModel", that: "that is smaller" } },
  queue_full: { text: "the queue is full: too many requests at once", next: fewerAtOnce },
  check_failed: { text: "answers of MODEL fail their check", next: { step: "chooseModel", that: "that is larger" } },
  generation_failed: { text: "the engine of MODEL fails while it answers", next: { step: "chooseModel" } },
};

function sum(requests: readonly WatchedRequest[], of: (request: WatchedRequest) => number): number {
  return requests.reduce((total, request) => total + of(request), 0);
}

function mean(requests: readonly WatchedRequest[], of: (request: WatchedRequest) => number): number {
  return requests.length === 0 ? 0 : sum(requests, of) / requests.length;
}

/** The most frequent value; of equals the first. */
function mostOften(values: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}
