/** Prompts about many texts, and steps that build on each other. */
import type { CallerContext, Operation } from "./types.ts";

/** `file`: a text is a file; `part`: at most some 1,000 tokens of one; `row`: of a table. */
export const batchUnits = ["file", "part", "row"] as const;
export type BatchUnit = (typeof batchUnits)[number];

/** What one answer is about. */
export interface BatchItem {
  /** `src/a.ts`, `guide.md: 3 Ports`, `sales.csv: row 12`. */
  readonly name: string;
  readonly path: string;
  /** Absent: it is in its prompt. */
  readonly text?: string;
  /** Where the text begins in its file, if that is not its first line. */
  readonly firstLine?: number;
  /** Its lines are none of the file. */
  readonly isRow?: true;
  /** That of a template which it filled; absent: that of the request. */
  readonly prompt?: string;
}

/** What a failing step does: the same model once more, the other models, or the end; `ask` ends so that the user may go on without it. */
export const failureWays = ["retry", "next model", "stop", "ask"] as const;

/** A prompt about each of its texts. Its texts hold marks of earlier steps (`util/placeholders.ts`). */
export interface BatchStep<Request> {
  readonly name: string;
  /** Its files are the same for all items. */
  readonly request: Request;
  /** A single one without text: a prompt of its own. */
  readonly items: readonly BatchItem[];
  /** It is about many texts, be there only one now. */
  readonly isMany?: true;
  /** In place of items: the mark of a list that an earlier step gives. */
  readonly over?: string;
  /** Marks of what earlier steps give it to read, as files. The step is skipped if all of them are empty. */
  readonly input?: readonly string[];
  /** Asked of each item, in place of the prompt. */
  readonly questions?: readonly string[];
  /** Only so many items, spread over all. */
  readonly sample?: number;
  /** Only the first items. */
  readonly limit?: number;
  /** `now`, `idle`, hours of the day as `22:00-06:00`, or a mark: the step is skipped if that is empty, no or false. */
  readonly when?: string;
  /** Absent: other models are asked, and answers with doubts are kept. */
  readonly onFail?: (typeof failureWays)[number];
  /** Where its caller writes its answers. */
  readonly output?: string;
}

export interface BatchRequest<Request> {
  /** The name of the pipeline. Absent: one prompt about many texts, and what is asked about all answers. */
  readonly pipeline?: string;
  readonly steps: readonly BatchStep<Request>[];
  /** Steps that are left out. */
  readonly skip?: readonly string[];
}

/** What a step is expected to take. */
export interface PlannedStep {
  readonly step: string;
  readonly model: string;
  readonly engine: string;
  readonly notes: readonly string[];
  /** It has to be loaded at that moment. */
  readonly isLoad: boolean;
  /** Absent: an earlier step decides. */
  readonly prompts?: number;
  /** Estimates for all prompts; those of texts that aren't known yet are assumed to be short. */
  readonly promptTokens?: number;
  readonly seconds?: number;
}

/** `empty`: the text does not say. `doubtful`: a check found something, or a value does not stand in the text. */
export const batchStates = ["done", "empty", "doubtful", "failed"] as const;

/** One answer as it is kept. */
export interface BatchAnswer {
  /** Absent if there is one step only. */
  readonly step?: string;
  readonly item: string;
  readonly question?: string;
  readonly state: (typeof batchStates)[number];
  readonly text?: string;
  /** Why it failed, or what is doubtful. */
  readonly why?: string;
  /** Where its values, or the lines that it quotes, stand: `/total` → `invoice.txt:7`. */
  readonly where?: Readonly<Record<string, string>>;
  readonly model?: string;
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  readonly ms?: number;
}

/**
 * `asked` and `done` prompts; where there are any, those of the other states, `open` ones, and `kept` answers of an earlier call.
 * `seconds` of this run; `prompt_tokens` and `completion_tokens` of all answers.
 */
export type BatchCounts = Readonly<Record<string, number>>;

export interface BatchSummary {
  readonly id: string;
  readonly pipeline?: string;
  readonly models: readonly string[];
  readonly counts: BatchCounts;
  /** In the order in which they ran; `skipped` says why. */
  readonly steps: readonly { readonly step: string; readonly counts: BatchCounts; readonly skipped?: string }[];
  /** Why answers failed, the commonest first: `the answer is no JSON (3: a.ts, b.ts, …)`. */
  readonly failures: readonly string[];
  readonly examples: readonly BatchAnswer[];
  /** Files that its caller has to write. */
  readonly outputs: readonly string[];
  /** What the last of several steps answered. */
  readonly text?: string;
  /** The step at which it ended early. */
  readonly stopped?: string;
  /** The user may go on without that step. */
  readonly asks?: string;
  readonly notes: readonly string[];
}

export interface Batches<Request> {
  /** The texts of which each is asked about; by default rows of a table, parts of one file, or whole files. Throws `InvalidRequest`. */
  items(
    files: readonly { readonly path: string; readonly text: string }[],
    unit?: BatchUnit,
  ): Promise<readonly BatchItem[]>;
  /**
   * Takes its steps in the order of `plan`; asks about each item, and keeps each answer before the next one is asked for. The
   * same request continues one that was interrupted, and joins one that runs. Throws `InvalidRequest` and what choosing a
   * model throws.
   */
  start(caller: CallerContext, request: BatchRequest<Request>): Promise<Operation<BatchSummary>>;
  /**
   * The steps in the order that loads the fewest models, each after those that it takes from. Throws what choosing a model throws,
   * with the name of the step.
   */
  plan(caller: CallerContext, request: BatchRequest<Request>): Promise<readonly PlannedStep[]>;
  /** All answers so far, in the order of the items. Throws `UnknownJob`. */
  results(caller: CallerContext, id: string): Promise<readonly BatchAnswer[]>;
}
