import type { CallerContext, FinishReason, Operation } from "./types.ts";
import type { Task } from "./facade.ts";

export interface CompareRequest {
  readonly prompt: string;
  /** Two to five names; `auto` takes what routing would rank first. */
  readonly models: readonly string[] | "auto";
  readonly system?: string;
  readonly files?: readonly { readonly path: string; readonly text: string }[];
  /** A local model that ranks the answers; `auto` takes the largest that isn't compared. */
  readonly judge?: string;
  /** How often each is asked; medians are shown. 1 when absent. */
  readonly runs?: number;
  readonly maxTokens?: number;
}

export interface ComparedModel {
  readonly model: string;
  readonly engine: string;
  readonly text: string;
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  readonly tokensPerSecond?: number;
  readonly firstTokenMs?: number;
  /** From the request to the last token; loading and waiting for others are left out. */
  readonly totalMs?: number;
  /** 0: it was loaded already. */
  readonly loadMs?: number;
  /** Resident bytes right after its answer. */
  readonly memoryBytes?: number;
  /** `length`: its answer was cut at `max_tokens`; `repetition`: where it went in circles. */
  readonly finishReason?: FinishReason;
  /** How many runs the figures are medians of; absent with one. */
  readonly runs?: number;
  /** Something else computed on the same cores meanwhile: its times are no measurement, and routing learns nothing. */
  readonly isContended?: boolean;
  /** Message and hint; of a model that answered some runs but not all, see `notes` of the comparison. */
  readonly error?: string;
}

export interface Judgement {
  readonly judge: string;
  /** Best first; those of one inner list are tied. */
  readonly ranking: readonly (readonly string[])[];
  readonly reason: string;
  /** That it is a model's opinion, and whether both orders agreed. */
  readonly note: string;
}

export interface Comparison {
  readonly id: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly prompt: string;
  readonly task: Task;
  readonly results: readonly ComparedModel[];
  /** In which order they ran, one after the other or beside each other, and why. */
  readonly order: string;
  readonly judgement?: Judgement;
  /** Paths of the files that were part of the prompt. */
  readonly files?: readonly string[];
  /** What else should be known: why there is no judgement, what went wrong on the way. */
  readonly notes?: readonly string[];
  readonly winner?: string;
}

/** What a user prefers for a kind of task. */
export interface Preference {
  readonly task: Task;
  readonly model: string;
  readonly comparisonId: string;
  /** ISO 8601. */
  readonly pickedAt: string;
}

/** Models side by side on one prompt, and the preferences that follow. */
export interface Comparisons {
  /** Throws `InvalidRequest`, `UnknownModel`, `PrivacyLocked`. */
  compare(caller: CallerContext, request: CompareRequest): Promise<Operation<Comparison>>;
  /** Throws `UnknownComparison`. */
  get(caller: CallerContext, id: string): Promise<Comparison>;
  list(caller: CallerContext): Promise<readonly Comparison[]>;
  /**
   * From now on this kind of task (the comparison's, unless `task` names another) goes to that model, where it can
   * serve. Throws `UnknownComparison`, `InvalidRequest` (not one of its models, or one that didn't answer).
   */
  pick(caller: CallerContext, id: string, model: string, task?: Task): Promise<Preference>;
  preferences(caller: CallerContext): Promise<readonly Preference[]>;
  /** Takes the newest preference of the task back; the one before holds again. Undefined when there is none. */
  undo(caller: CallerContext, task: Task): Promise<Preference | undefined>;
}
