import type { Timers } from "../async/timers.ts";
import type { LoadOptions, Report } from "../engines/engine.ts";
import type { LoadResult } from "../facade.ts";
import type { LocatedModel } from "../inventory/located-model.ts";
import type { ResidentModel } from "../types.ts";

/** Who wants an answer of a model, or only that it is loaded. */
export interface QueueRequest {
  /** `modelId`: the key under which the model is queued, leased and observed. */
  readonly id: string;
  readonly located: LocatedModel;
  /** Callers take turns. */
  readonly caller: string;
  /** Higher goes first. */
  readonly priority: number;
  /** A model that is loaded with this much context is used as it is. */
  readonly neededTokens: number;
  /** What it is loaded with if it must be loaded; of all who wait for it, the most counts. */
  readonly contextTokens: number;
  readonly keepAliveSeconds?: number;
  /** Nobody wants the answer if it hasn't begun by then, in milliseconds from now. */
  readonly maxWaitMs?: number;
  readonly report: Report;
  readonly signal: AbortSignal;
}

/** A model in use: it stays in memory until `release`, which may be called again without effect. */
export interface Use {
  /** Absent: it takes no memory here. */
  readonly resident?: ResidentModel;
  release(): void;
}

/** A slot to generate on a model, until it is released. */
export interface RequestSlot extends Use {
  /** Milliseconds waited, without those of its load. */
  readonly waitedMs: number;
  readonly loadMs: number;
}

/** A model with something running or waiting. */
export interface QueuedRequests {
  readonly located: LocatedModel;
  readonly running: number;
  readonly waiting: number;
}

/** What a queue can see and do. Ids are those of requests. */
export interface QueueWorld {
  readonly timers: Timers;
  /** `queue.maxWaiting`, asked anew each time. */
  readonly maxWaiting: () => number;
  /** `queue.maxOvertakeMs`, asked anew each time. */
  readonly maxOvertakeMs: () => number;
  /** Answers that children of this program compute at a time. */
  readonly embeddedSlots: number;
  maxParallel(located: LocatedModel): number;
  hasOwnThreads(located: LocatedModel): boolean;
  /** Undefined: not in memory. Rather remembered than asked for anew. */
  resident(located: LocatedModel): Promise<ResidentModel | undefined>;
  /** Undefined when it is not there any more, or with too little context. */
  use(located: LocatedModel, neededTokens: number): Promise<Use | undefined>;
  /** The same right after its load, without looking. */
  hold(located: LocatedModel, loaded: LoadResult): Use;
  /** Makes room and loads; throws what a load throws. */
  load(located: LocatedModel, options: LoadOptions, report: Report, signal: AbortSignal): Promise<LoadResult>;
  /** What would have to go for it, itself not counted; busy models only where idle ones don't do. */
  wouldEvict(located: LocatedModel, contextTokens: number): Promise<readonly string[]>;
  /** How many use the model now. */
  usesOf(id: string): number;
  isLoading(id: string): boolean;
  isEvicting(id: string): boolean;
  /** What losing it is expected to cost; undefined before its first use. */
  lossSeconds(located: LocatedModel): number | undefined;
  /** Milliseconds of one load; of a long answer. */
  loadMs(located: LocatedModel): number;
  answerMs(located: LocatedModel): number;
  answered(id: string, durationMs: number): void;
  /** Somebody waits for memory, in words, for the log of decisions. */
  waits(located: LocatedModel, why: string): void;
}
