/** One prompt, or several questions, asked about many texts. */
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

export interface BatchRequest<Request> {
  /** Its files are the same for all items. */
  readonly request: Request;
  readonly items: readonly BatchItem[];
  /** Asked of each item, in place of the prompt. */
  readonly questions?: readonly string[];
  /** Only so many items, spread over all. */
  readonly sample?: number;
  /** Only the first items. */
  readonly limit?: number;
  /** A prompt about all answers. */
  readonly reduce?: string;
  /** `now`, `idle`, or hours of the day as `22:00-06:00`. */
  readonly when?: string;
  /** Where its caller writes the answers. */
  readonly output?: string;
}

/** `empty`: the text does not say. `doubtful`: a check found something, or a value does not stand in the text. */
export const batchStates = ["done", "empty", "doubtful", "failed"] as const;

/** One answer as it is kept. */
export interface BatchAnswer {
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

export interface BatchSummary {
  readonly id: string;
  readonly models: readonly string[];
  /**
   * `asked` and `done` prompts; where there are any, those of the other states, `open` ones, and `kept` answers of an earlier call.
   * `seconds` of this run; `prompt_tokens` and `completion_tokens` of all answers.
   */
  readonly counts: Readonly<Record<string, number>>;
  /** Why answers failed, the commonest first: `the answer is no JSON (3: a.ts, b.ts, …)`. */
  readonly failures: readonly string[];
  readonly examples: readonly BatchAnswer[];
  readonly output?: string;
  /** The answer to `reduce`. */
  readonly reduced?: string;
  readonly notes: readonly string[];
}

export interface Batches<Request> {
  /** The texts of which each is asked about; by default rows of a table, parts of one file, or whole files. Throws `InvalidRequest`. */
  items(
    files: readonly { readonly path: string; readonly text: string }[],
    unit?: BatchUnit,
  ): Promise<readonly BatchItem[]>;
  /**
   * Asks about each item, and keeps each answer before the next one is asked for. The same request continues a batch that
   * was interrupted, and joins one that runs. Throws `InvalidRequest` and what choosing a model throws.
   */
  start(caller: CallerContext, request: BatchRequest<Request>): Promise<Operation<BatchSummary>>;
  /** All answers so far, in the order of the items. Throws `UnknownJob`. */
  results(caller: CallerContext, id: string): Promise<readonly BatchAnswer[]>;
}
