import * as z from "zod";
import { type CallerContext, type JsonSchema, type Operation, type Task, tasks } from "./types.ts";

export interface CompareRequest {
  readonly prompt: string;
  /** Two to five names; `auto` takes the first models of the route. */
  readonly models: readonly string[] | "auto";
  readonly system?: string;
  readonly files?: readonly { readonly path: string; readonly text: string }[];
  /** A local model that ranks the answers; `auto` takes the largest that is not compared. */
  readonly judge?: string;
  /** Runs per model, 1 by default; figures are medians. */
  readonly runs?: number;
  readonly maxTokens?: number;
}

const count = z.number().min(0);

const comparedModel = z.object({
  model: z.string(),
  engine: z.string(),
  text: z.string(),
  promptTokens: count.exactOptional(),
  completionTokens: count.exactOptional(),
  tokensPerSecond: count.exactOptional(),
  firstTokenMs: count.exactOptional(),
  /** From the request to the last token, without loading and queueing. */
  totalMs: count.exactOptional(),
  /** 0 if it was already loaded. */
  loadMs: count.exactOptional(),
  /** Resident bytes right after the answer. */
  memoryBytes: count.exactOptional(),
  /** `length`: the answer was cut at its token limit; `repetition`: where it began to repeat itself. */
  finishReason: z.enum(["stop", "length", "repetition"]).exactOptional(),
  /** The sum of all runs; absent for an engine without prices. */
  cost: z
    .object({ amount: count, currency: z.string(), date: z.string(), isEstimated: z.literal(true).exactOptional() })
    .exactOptional(),
  /** Number of runs; absent with one. */
  runs: count.exactOptional(),
  /** Other requests ran on the same cores: the times are not reliable, and routing does not learn from them. */
  isContended: z.boolean().exactOptional(),
  /** Absent for a model that answered at least one run; failed runs are in `notes` of the comparison. */
  error: z.string().exactOptional(),
});
export type ComparedModel = z.output<typeof comparedModel>;

export const keptComparison = z.object({
  id: z.string(),
  createdAt: z.iso.datetime(),
  prompt: z.string(),
  task: z.enum(tasks),
  results: z.array(comparedModel).readonly(),
  /** The order in which the models ran, and why. */
  order: z.string(),
  judgement: z
    .object({
      judge: z.string(),
      /** Best first; models in one inner list are tied. */
      ranking: z.array(z.array(z.string()).readonly()).readonly(),
      reason: z.string(),
      /** States that it is a model's opinion, and whether both orders agreed. */
      note: z.string(),
    })
    .exactOptional(),
  /** Paths of the files that were part of the prompt. */
  files: z.array(z.string()).readonly().exactOptional(),
  /** Why there is no judgement, and which runs failed. */
  notes: z.array(z.string()).readonly().exactOptional(),
  winner: z.string().exactOptional(),
});
export type Comparison = z.output<typeof keptComparison>;

/** A user's preferred model for a kind of task. */
export const keptPreference = z.object({
  task: z.enum(tasks),
  model: z.string(),
  /** Absent for a choice without a comparison. */
  comparisonId: z.string().exactOptional(),
  pickedAt: z.iso.datetime(),
});
export type Preference = z.output<typeof keptPreference>;

/** A user's judgement about an answer. */
export const keptRating = z.object({
  task: z.enum(tasks),
  model: z.string(),
  isGood: z.boolean(),
  /** Chosen by the surface; a second rating of the same answer replaces the first. */
  answerId: z.string().exactOptional(),
  /** Also without an answer of the last hour; all such ratings of a model and task together count as three at most. */
  isForced: z.boolean().exactOptional(),
});
export type Rating = z.output<typeof keptRating>;

/** What was learned about the answers of a model to a kind of task. */
export interface LearnedQuality {
  readonly task: Task;
  readonly model: string;
  /** How many it rests on; what says little counts as less than one. */
  readonly answers: number;
  /** Their mean, from 0 (useless) to 1. */
  readonly score: number;
}

/** A prompt of the user's own work, with what an answer has to be like. */
export interface EvalCase {
  /** Its file and line: `cases.jsonl:3`. */
  readonly name: string;
  /** The file that it stands in. */
  readonly source?: string;
  readonly prompt: string;
  readonly system?: string;
  readonly task?: Task;
  /** Names as the case has them, relative to its file; their texts once they are read. */
  readonly files?: readonly { readonly path: string; readonly text?: string }[];
  /** The answer is made and validated in this format. */
  readonly format?: "json" | JsonSchema;
  /** What the answer states has to stand in its files, or it has to pass a command that the user named. */
  readonly check?: "quotes" | { readonly command: string };
  /**
   * All have to hold. `equals`: the same value, however it is spelled; `json`: JSON, and of the schema if `value` is one;
   * `judge`: a model says that the answer meets the criterion. Empty: the case is only timed.
   */
  readonly expects: readonly {
    readonly type: "equals" | "contains" | "icontains" | "regex" | "json" | "judge";
    readonly value?: unknown;
    readonly isNot?: true;
  }[];
}

/** How models did on a set of cases. Times and speeds are medians, without loading and waiting. */
export interface Eval {
  readonly id: string;
  /** Where its cases come from. */
  readonly name: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Absent while answers are missing. */
  readonly endedAt?: string;
  readonly isRunning: boolean;
  readonly models: readonly string[];
  /** The model that judged what can't be compared. */
  readonly judge?: string;
  readonly cases: number;
  /** Answers that there are, of `cases` × `models`. */
  readonly answered: number;
  /** How many cases are decided by what: a case counts at the weakest of its checks. */
  readonly decidedBy: Readonly<Record<"values" | "format" | "quotes" | "command" | "judge" | "nothing", number>>;
  /** Why answers are missing, and what to know of the figures. */
  readonly notes: readonly string[];
  /** One for each task and model, and one for all tasks (`all`) if there are several. Empty in a list. */
  readonly rows: readonly (Pick<ComparedModel, "model" | "tokensPerSecond" | "memoryBytes" | "cost" | "isContended"> & {
    readonly task: Task | "all";
    readonly right: number;
    /** Answers that were right or wrong, and requests that failed. */
    readonly scored: number;
    /** Among `scored`: the model gave no answer. */
    readonly failed: number;
    /** The judge could not tell. */
    readonly undecided: number;
    /** `right` ÷ `scored`, with its 95 % interval by Wilson's formula; absent without any. */
    readonly quality?: { readonly share: number; readonly low: number; readonly high: number };
    readonly seconds?: number;
  })[];
  /**
   * For each profile that serves these tasks, and for all cases (without a profile) if there are several: the model that
   * is better than all others, if the cases can tell.
   */
  readonly verdicts: readonly {
    readonly profile?: string;
    readonly winner?: string;
    readonly text: string;
  }[];
  /** Answers that were not right, the first ones. */
  readonly misses: readonly {
    readonly case: string;
    readonly model: string;
    readonly why: string;
    readonly text?: string;
  }[];
}

export const trainingSources = ["rated", "picked", "verified"] as const;
/** `rated` as good; `picked` in a comparison; `verified`: a check passed. */
export type TrainingSource = (typeof trainingSources)[number];

export interface TrainingRequest {
  readonly format: "openai" | "sharegpt";
  /** Absent: all. */
  readonly tasks?: readonly Task[];
  /** Absent: all. */
  readonly sources?: readonly TrainingSource[];
}

/** Answers that a model can be trained with. */
export interface TrainingMaterial {
  /** JSON lines. */
  readonly text: string;
  /** How many lines there are, and by what. */
  readonly count: number;
  readonly counts: Readonly<Record<"task" | "source" | "model", Readonly<Record<string, number>>>>;
  /** The days of the answers, oldest first. */
  readonly dates: readonly string[];
  /** What is left out, and why; never what it says. */
  readonly refused: readonly { readonly place: string; readonly reason: string }[];
}

/** Comparisons of models on one prompt, preferences, and what is learned from both and from ratings. */
export interface Comparisons {
  /** Throws `InvalidRequest`, `UnknownModel`, `PrivacyLocked`. */
  compare(caller: CallerContext, request: CompareRequest): Promise<Operation<Comparison>>;
  /** Throws `UnknownComparison`. */
  get(caller: CallerContext, id: string): Promise<Comparison>;
  list(caller: CallerContext): Promise<readonly Comparison[]>;
  /**
   * Makes a model the preferred one for the comparison's task, or for `task`. Throws `UnknownComparison`,
   * `InvalidRequest` (not a model of the comparison, or one that did not answer).
   */
  pick(caller: CallerContext, id: string, model: string, task?: Task): Promise<Preference>;
  preferences(caller: CallerContext): Promise<readonly Preference[]>;
  /** Removes the newest preference of the task and returns it; the previous one is in force again. Undefined if there is none. */
  undo(caller: CallerContext, task: Task): Promise<Preference | undefined>;
  /** Makes a model the preferred one for a kind of task, without a comparison. Throws `UnknownModel`. */
  prefer(caller: CallerContext, task: Task, model: string): Promise<Preference>;
  /**
   * Returns it with the name as the engine spells it; `isForced` if there was no answer. Throws `UnknownModel`,
   * `InvalidRequest` (learning is off, the model gave no answer in the last hour).
   */
  rate(caller: CallerContext, rating: Rating): Promise<Rating>;
  learned(caller: CallerContext): Promise<readonly LearnedQuality[]>;
  /**
   * The cases of files: YAML, JSON, JSON lines, a prompt as text with its answer beside it, promptfoo's configuration.
   * `picked`: those of the kept comparisons of which an answer was picked, which is the standard then; ratings keep no
   * prompts. Notes name what of them is not used. Throws `InvalidRequest` with file and line.
   */
  readCases(files: readonly { readonly path: string; readonly text: string }[] | "picked"): Promise<{
    readonly cases: readonly EvalCase[];
    readonly notes: readonly string[];
  }>;
  /**
   * Asks each model each case, and keeps each answer: one that has been interrupted is continued by the same request.
   * Throws `InvalidRequest`, `UnknownModel`, `PrivacyLocked`.
   */
  evaluate(
    caller: CallerContext,
    request: {
      readonly name: string;
      /** With the texts of their files. */
      readonly cases: readonly EvalCase[];
      /** `auto`: all of this machine that fit. */
      readonly models: readonly string[] | "auto";
      readonly judge?: string;
      /** What its answers may cost, in the currency of the paid engine. */
      readonly budget?: number;
      readonly maxTokens?: number;
      readonly notes?: readonly string[];
    },
  ): Promise<Operation<Eval>>;
  /** Newest first, without rows, verdicts and misses. */
  evals(caller: CallerContext): Promise<readonly Eval[]>;
  /** Throws `UnknownComparison`. */
  getEval(caller: CallerContext, id: string): Promise<Eval>;
  /** Throws `UnknownComparison`, `InvalidRequest` for one that runs. */
  removeEval(caller: CallerContext, id: string): Promise<void>;
  /**
   * Forgets what was learned, about one task or model if it names one; preferences stay. Throws `InvalidRequest` if nothing
   * was learned about the model.
   */
  reset(caller: CallerContext, scope: { readonly task?: Task; readonly model?: string }): Promise<void>;
  trainingMaterial(caller: CallerContext, request: TrainingRequest): Promise<TrainingMaterial>;
  /** Deletes recorded answers; returns how many. */
  forgetTraining(caller: CallerContext): Promise<number>;
}
