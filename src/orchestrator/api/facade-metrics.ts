/** What was done, how long it took, what it saved; and what happens now. */
import type { MoneyTally } from "./cost.ts";
import type { MemorySample, RequestRow } from "./events.ts";
import type { Advice, DecisionKind, PoolUsage, RamStatus, SystemStatus } from "./facade-status.ts";
import type { NextStep } from "./next-step.ts";
import type { CallerContext, OperationKind, Progress } from "./types.ts";

/** Milliseconds, from a histogram: the upper bound of a bucket, at most 9.1 % above the duration itself. */
interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
}

/**
 * Sums over requests. A request is counted once, at the model that answered or was asked last; what was asked of engines for
 * it (fallbacks, parts of a long text, corrections, votes) counts at the model that was asked.
 */
export interface Figures {
  /** Answered, failed and cancelled ones. */
  readonly requests: number;
  readonly answered: number;
  readonly failed: number;
  /** Neither answered nor failed. */
  readonly cancelled: number;
  /** Failures by class: of each model that was asked, and of requests for which none was. */
  readonly errors: Readonly<Record<string, number>>;
  /** Models that failed before another one answered. */
  readonly fallbacks: number;
  /** For each request to an engine. */
  readonly queueMs: Percentiles;
  /** For each request to an engine that loaded a model. */
  readonly loadMs: Percentiles;
  /** For each request to an engine. */
  readonly firstTokenMs: Percentiles;
  /** For whole requests that were answered, without comparisons. */
  readonly totalMs: Percentiles;
  /** For whole requests that failed. */
  readonly failedMs: Percentiles;
  /** For the answers of comparisons. */
  readonly comparedMs: Percentiles;
  /** Tokens read from a cache included. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  /** Those of the cached ones that came from disk. */
  readonly restoredPromptTokens: number;
  readonly completionTokens: number;
  /** Over all answers, tokens ÷ time; 0: unknown. */
  readonly tokensPerSecond: number;
  /** ISO 8601. */
  readonly lastUsedAt?: string;
}

const metricDimensions = ["model", "engine", "profile", "client", "task", "day"] as const;
/** A time is that of the start: `2026-11-23` of this machine's time zone, `2026-11-23T05:00Z`, `2026-11-23T05:30Z`. */
export const groupDimensions = [...metricDimensions, "hour", "minute"] as const;
type GroupDimension = (typeof groupDimensions)[number];

/** Sums of the requests that share a name, such as a model, or a day (`2026-11-23`, in the time zone of this machine). */
export interface NamedFigures extends Figures {
  readonly name: string;
  /** Requests per day, at most 30, oldest first, for a sparkline; of a day: of each UTC hour that begins in it, while they are kept. */
  readonly history: readonly number[];
}

export interface MetricsReport {
  /** ISO 8601: the beginning of the oldest day that is counted. */
  readonly since: string;
  readonly total: Figures;
  readonly by: Readonly<Record<(typeof metricDimensions)[number], readonly NamedFigures[]>>;
  /** By engine; `most`: the most short calls at once since the start, waiting ones included. */
  readonly connections: Readonly<
    Record<string, { readonly control: PoolUsage; readonly generation: PoolUsage; readonly most: number }>
  >;
  /** Unloads by reason: `load` (to make room for another model), `expire` (end of the keep-alive), `unload` (on request). */
  readonly evictions: readonly { readonly model: string; readonly kind: DecisionKind; readonly count: number }[];
  /** By day, then by hour, then by minute (the last 24 hours), oldest first. A sample of an hour or day has its extremes. */
  readonly memory: readonly MemorySample[];
}

/** One line of the bill: amount = tokens × price ÷ 1,000,000, rounded to a billionth. */
interface MoneyRow {
  /** `2026-11-23`; `2026-09`: days of a month that were joined. */
  readonly day: string;
  readonly task: string;
  readonly client: string;
  /**
   * `prompt` and `answer`: tokens of local models at the reference price. Negative: `read`, tokens of answers that an
   * assistant read, at the price of prompts; `cloud`, what a paid engine charged.
   */
  readonly kind: "prompt" | "answer" | "read" | "cloud";
  readonly tokens: number;
  /** The average for `cloud`: prompts, cached prompts and answers have a price each. */
  readonly pricePerMillion: number;
  readonly amount: number;
  /** If it is not that of the report: the row is not part of the sums. */
  readonly currency?: string;
}

interface MoneySum {
  /** Saved less spent. */
  readonly total: number;
  /** Less what assistants read. */
  readonly saved: number;
  readonly spent: number;
  readonly localTokens: number;
  /** Tokens of answers that assistants read. */
  readonly readTokens: number;
  /** Tokens of files that were read here, which no assistant sent or paid; never part of the sums. */
  readonly neverSentTokens: number;
  /** Charged in other currencies, which are not added to `spent`. */
  readonly otherSpent?: readonly { readonly currency: string; readonly amount: number }[];
}

export interface MoneyReport {
  readonly currency: string;
  /** The sum in words, with the reference model, its prices and their date. */
  readonly formula: string;
  readonly reference: {
    readonly model: string;
    readonly promptPerMillion: number;
    readonly answerPerMillion: number;
    /** The day on which the prices were read: `2026-11-01`; absent for prices from the settings. */
    readonly asOf?: string;
  };
  /** `day`: that of its rows; `from`: ISO 8601, when it began. */
  readonly today: MoneySum & { readonly day: string; readonly from: string };
  /** In the time zone of this machine. */
  readonly month: MoneySum;
  readonly total: MoneySum;
  /** All days, oldest first; month and total are their sums. */
  readonly rows: readonly MoneyRow[];
}

/** Durations of requests to engines; of `total`, of whole requests. */
export interface Distribution {
  readonly sumMs: number;
  /** In rising order, how many durations are at most that long; the last one has all. */
  readonly bounds: readonly { readonly upToMs: number; readonly count: number }[];
}

/** Counts since the start; the names of a kind are bounded (`other`). */
export interface Counters {
  readonly requests: readonly (Omit<
    Figures,
    | "requests"
    | "queueMs"
    | "loadMs"
    | "firstTokenMs"
    | "totalMs"
    | "failedMs"
    | "comparedMs"
    | "tokensPerSecond"
    | "lastUsedAt"
  > & {
    /** Empty for requests that failed before a model was chosen, as is the engine. */
    readonly model: string;
    readonly engine: string;
    readonly profile: string;
    readonly client: string;
    readonly task: string;
    /** Answers whose decode time is known. */
    readonly timedTokens: number;
    readonly decodeMs: number;
  })[];
  readonly durations: readonly ({ readonly model: string; readonly engine: string } & Readonly<
    Record<"queue" | "load" | "firstToken" | "total", Distribution>
  >)[];
}

/** An installed model that is not in use: neither loaded, pinned nor configured. */
export interface UnusedModel {
  readonly name: string;
  readonly engine: string;
  /** On disk. */
  readonly sizeBytes: number;
  /** Whole days since its last use or its installation. */
  readonly unusedDays: number;
  /** ISO 8601; absent: no use is known. */
  readonly lastUsedAt?: string;
}

export interface KeptRequests {
  /** Those that match, newest first; `total`: on all pages. */
  list(query: {
    readonly model?: string;
    readonly client?: string;
    readonly task?: string;
    readonly trace?: string;
    /** `failed`: of any class. */
    readonly outcome?: string;
    /** When it started, ISO 8601 in UTC with milliseconds: from this time, until before that one. */
    readonly from?: string;
    readonly to?: string;
    readonly limit: number;
    /** Only those after this one, as a page named it. */
    readonly before?: string;
    /** Groups the requests of all pages by these, too. */
    readonly by?: readonly GroupDimension[];
  }): Promise<{
    readonly rows: readonly RequestRow[];
    readonly total: number;
    readonly before?: string;
    /** The largest first. */
    readonly groups?: readonly (GroupFigures & Partial<Readonly<Record<GroupDimension, string>>>)[];
  }>;
}

/** Requests that share their names. A doubtful answer is an answer. Times are of answers, and exact: nearest rank. */
interface GroupFigures extends Pick<Figures, "requests" | "answered" | "failed" | "cancelled"> {
  /** The failed requests by class. */
  readonly errors: Readonly<Record<string, number>>;
  /** Answered requests for which another model (`from`) had failed before. */
  readonly fallbacks: readonly { readonly from: string; readonly to: string; readonly count: number }[];
  readonly totalMs: Percentiles;
  readonly firstTokenMs: Percentiles;
  /** Answers that were timed, each by itself. */
  readonly tokensPerSecond: Percentiles;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** What paid engines charged: by currency. */
  readonly cost: readonly { readonly amount: number; readonly currency: string }[];
}

export interface Metrics {
  /** A program's request passed through to another machine: prompts that left are counted. */
  notePassedOn(host: string): void;
  /** An assistant read the answer of a model, in this form; its tokens are estimated. */
  noteRead(caller: CallerContext, task: string, text: string): void;
  /** For a monitor that reads them again and again. */
  counters(): Counters;
  report(caller: CallerContext): Promise<MetricsReport>;
  money(caller: CallerContext): Promise<MoneyReport>;
  /** Breached thresholds; also first of what `advice` found. */
  breaches(): Promise<readonly Advice[]>;
  /** With the models that are not in use, the largest first. */
  advice(
    caller: CallerContext,
  ): Promise<{ readonly found: readonly Advice[]; readonly unused: readonly UnusedModel[] }>;
  requests(caller: CallerContext, query: Parameters<KeptRequests["list"]>[0]): ReturnType<KeptRequests["list"]>;
}

/** A model in memory, or on its way there. */
export interface LiveModel {
  readonly name: string;
  readonly engine: string;
  /** RAM and VRAM together; while it loads, what is reserved. */
  readonly bytes: number;
  /** The part of `bytes` on graphics cards; absent: none, or shared with the RAM. */
  readonly vramBytes?: number;
  /** In the memory of another machine. */
  readonly isElsewhere?: true;
  readonly state: "loading" | "ready" | "evicting" | "stuck";
  readonly isPinned: boolean;
  /** Running requests. */
  readonly running: number;
  /** Whose requests run or wait. */
  readonly clients: readonly string[];
  readonly contextTokens?: number;
  /** ISO 8601: the end of the keep-alive. */
  readonly expiresAt?: string;
}

/** A running operation. */
export interface LiveOperation extends Pick<
  Progress,
  "model" | "completionTokens" | "completedBytes" | "totalBytes" | "bytesPerSecond"
> {
  readonly id: string;
  readonly kind: OperationKind;
  readonly title: string;
  readonly client?: string;
  readonly startedAt: string;
  readonly isJob: boolean;
  readonly message?: string;
  readonly tokensPerSecond?: number;
  /** ISO 8601: when `completedBytes` changed last. */
  readonly bytesAt?: string;
  /** The end of each answer so far, of a comparison: by model. */
  readonly texts?: readonly { readonly model: string; readonly text: string }[];
}

/** What was counted, for the views. */
export interface CountedFigures {
  counters(): Counters;
  report(): Promise<MetricsReport>;
  /** The counts of each model, by `keyOfName`, over all that is kept, and since when (ms since the epoch) there are any. */
  models(): Promise<{ readonly sinceMs?: number; readonly byName: ReadonlyMap<string, ModelCounts> }>;
  /** What money is computed from, up to this moment. */
  moneyCounts(): Promise<readonly MoneyTally[]>;
  /** Thresholds that are not kept now, oldest first, with their likely causes. */
  breaches(): Promise<readonly Advice[]>;
  /** Prompts sent to engines and hosts that are not on this machine, since the count began (ms since the epoch). */
  remote(): Promise<{
    readonly count: number;
    readonly sinceMs: number;
    readonly last?: { readonly engine: string; readonly atMs: number };
  }>;
}

export interface ModelCounts {
  readonly requests: number;
  /** Since the epoch. */
  readonly lastUsedMs: number;
  /** The largest prompt with its answer. */
  readonly largestTokens: number;
  /** Tokens that were timed, and the milliseconds that they took. */
  readonly timedTokens: number;
  readonly decodeMs: number;
}

/** Something that is wrong, or was within the last day. */
export interface Alert {
  /** The same while its figures change; another when it begins anew. */
  readonly id: string;
  readonly text: string;
  /** ISO 8601: when it was seen first. */
  readonly since: string;
  /** When it was seen last; absent: it is there now. */
  readonly until?: string;
  /** The model whose download failed, and which may be pulled again. */
  readonly pull?: string;
}

/** A moment of this machine, as a page shows it. */
export interface LiveState {
  /** ISO 8601. */
  readonly at: string;
  /** In RAM, total = models of this machine (bytes − vramBytes) + other + available. */
  readonly memory: Pick<RamStatus, "totalBytes" | "gpus" | "warning"> & {
    /**
     * Free for models: as the system says, less the file-mapped bytes of loaded models, which it counts as available, and
     * what is reserved for loads.
     */
    readonly availableBytes: number;
    readonly models: readonly LiveModel[];
    /** Held by other programs and the system: the rest. */
    readonly otherBytes: number;
  };
  readonly operations: readonly LiveOperation[];
  /** Written by all models since the daemon started. */
  readonly tokens: number;
  /** `expectedWaitMs`: of the last in the queue. */
  readonly queue: readonly (SystemStatus["queue"][number] & { readonly expectedWaitMs?: number })[];
  /** `from`: see `MoneyReport`. */
  readonly today: { readonly saved: number; readonly currency: string; readonly from: string };
  /** The requests that began in the last hour and have ended. */
  readonly lastHour: {
    /** By the minute in which they began, oldest first. */
    readonly requests: readonly number[];
    readonly failed: number;
    /** Absent: none gave a token. */
    readonly firstTokenP95Ms?: number;
  };
  /** Those that are there now, then those that have ended, at most 50, newest first. */
  readonly alerts: readonly Alert[];
}

/** A sample a second of the last hour, oldest first; null: none. Bytes of RAM, as in `LiveState`. */
export interface LiveHistory extends Readonly<
  Record<
    "modelBytes" | "otherBytes" | "availableBytes" | "tokensPerSecond" | "running" | "waiting",
    readonly (number | null)[]
  >
> {
  /** ISO 8601: of the last sample. */
  readonly endsAt: string;
}

export interface LiveView {
  /** Cheap: asks no engine. `worded` puts the next steps of warnings into words. */
  state(caller: CallerContext, worded?: (next: NextStep) => Promise<string>): Promise<LiveState>;
  /** Calls `listener` when what `state` shows has changed, unless by time alone, until the returned function is called. */
  onChange(listener: () => void): () => void;
  /** As far as `state` was read or `sample` called. */
  history(): LiveHistory;
  /** Call it each second: it adds to the history while something runs, else every ten seconds. */
  sample(): Promise<void>;
}
