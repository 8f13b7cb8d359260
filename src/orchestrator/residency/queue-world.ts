import type { Timers } from "../util/timers.ts";
import type { LoadOptions, Report } from "../engines/engine.ts";
import type { LoadResult } from "../api/facade.ts";
import type { LocatedModel } from "../models/located-model.ts";
import type { ResidentModel } from "../api/types.ts";

/** A request for an answer of a model, or for its load. */
export interface QueueRequest {
  /** `modelId`: the key under which the model is queued, leased and observed. */
  readonly id: string;
  readonly located: LocatedModel;
  /** Callers take turns. */
  readonly caller: string;
  /** Higher goes first. */
  readonly priority: number;
  /** A model that is loaded with at least this context is used as it is. */
  readonly neededTokens: number;
  /** Context to load it with if necessary; the largest of all requests for the model is used. */
  readonly contextTokens: number;
  readonly keepAliveSeconds?: number;
  /** The request is refused if its answer can't begin within this time. */
  readonly maxWaitMs?: number;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** A model in use, which stays in memory until `release`. `release` is idempotent. */
export interface Use {
  /** Absent for a model that uses no memory here. */
  readonly resident?: ResidentModel;
  release(): void;
}

/** A slot to generate on a model until `release`. */
export interface RequestSlot extends Use {
  /** Milliseconds waited, without `loadMs`. */
  readonly waitedMs: number;
  readonly loadMs: number;
}

/** A model with running or waiting requests. */
export interface QueuedRequests {
  readonly located: LocatedModel;
  readonly running: number;
  readonly waiting: number;
}

/** What a queue reads and calls. Ids are those of `QueueRequest`. */
export interface QueueWorld {
  readonly timers: Timers;
  /** `queue.maxWaiting`, called on each use. */
  readonly maxWaiting: () => number;
  /** `queue.maxOvertakeMs`, called on each use. */
  readonly maxOvertakeMs: () => number;
  /** Answers that the embedded engine computes at a time. */
  readonly embeddedSlots: number;
  maxParallel(located: LocatedModel): number;
  hasOwnThreads(located: LocatedModel): boolean;
  /** Undefined if it isn't loaded. May be cached. */
  resident(located: LocatedModel): Promise<ResidentModel | undefined>;
  /** Undefined if it is no longer loaded, or with too little context. */
  use(located: LocatedModel, neededTokens: number): Promise<Use | undefined>;
  /** Like `use`, but right after the load of the model and without a check. */
  hold(located: LocatedModel, loaded: LoadResult): Use;
  /** Makes room and loads; throws what a load throws. */
  load(located: LocatedModel, options: LoadOptions, report: Report, signal: AbortSignal): Promise<LoadResult>;
  /** Other models that its load would evict; busy ones only if the idle ones don't suffice. */
  wouldEvict(located: LocatedModel, contextTokens: number): Promise<readonly string[]>;
  /** Number of current uses of the model. */
  usesOf(id: string): number;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  /** The expected cost of losing the model; undefined before its first use. */
  lossSeconds(located: LocatedModel): number | undefined;
  /** Milliseconds of a load, and of a long answer. */
  loadMs(located: LocatedModel): number;
  answerMs(located: LocatedModel): number;
  answered(id: string, durationMs: number): void;
  /** Records in the log of decisions why a request waits for memory. */
  waits(located: LocatedModel, why: string): void;
}
