/** Prompts about many texts, steps that build on each other, and workers: models with tools on a copy of files. */
import * as z from "zod";
import type { CallerContext, JsonSchema, Operation } from "./types.ts";

/** `file`: a text is a file; `part`: at most some 500 tokens of one; `row`: of a table. */
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

/** A prompt about each of its texts. Its texts hold marks of earlier steps (`util/placeholders.ts`). */
export const batchStep = z.object({
  name: z.string(),
  /** In place of items: the mark of a list that an earlier step gives. */
  over: z.string().exactOptional(),
  /** It is about many texts, be there only one now. */
  isMany: z.literal(true).exactOptional(),
  /** Marks of what earlier steps give it to read, as files. The step is skipped if all of them are empty. */
  input: z.array(z.string()).readonly().exactOptional(),
  /** Asked of each item, in place of the prompt. */
  questions: z.array(z.string()).readonly().exactOptional(),
  /** Only so many items, spread over all. */
  sample: z.number().exactOptional(),
  /** Only the first items. */
  limit: z.number().exactOptional(),
  /** `now`, `idle`, hours of the day as `22:00-06:00`, or a mark: the step is skipped if that is empty, no or false. */
  when: z.string().exactOptional(),
  /**
   * What it does when it fails: the same model once more, the other models, or the end; `ask` ends so that the user may go on
   * without it. Absent: other models are asked, and answers with doubts are kept.
   */
  onFail: z.enum(["retry", "next model", "stop", "ask"]).exactOptional(),
  /** Where its caller writes its answers. */
  output: z.string().exactOptional(),
});
export interface BatchStep<Request> extends z.output<typeof batchStep> {
  /** Its files are the same for all items. */
  readonly request: Request;
  /** A single one without text: a prompt of its own. */
  readonly items: readonly BatchItem[];
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

/** One answer as it is kept. */
export const batchAnswer = z.object({
  /** Absent if there is one step only. */
  step: z.string().exactOptional(),
  /** The name of what it is about. */
  item: z.string(),
  question: z.string().exactOptional(),
  /** `empty`: the text does not say. `doubtful`: a check found something, or a value does not stand in the text. */
  state: z.enum(["done", "empty", "doubtful", "failed"]),
  text: z.string().exactOptional(),
  /** Why it failed, or what is doubtful. */
  why: z.string().exactOptional(),
  /** Where its values, or the lines that it quotes, stand: `/total` → `invoice.txt:7`. */
  where: z.record(z.string(), z.string()).exactOptional(),
  model: z.string().exactOptional(),
  promptTokens: z.number().exactOptional(),
  completionTokens: z.number().exactOptional(),
  ms: z.number().exactOptional(),
});
export type BatchAnswer = z.output<typeof batchAnswer>;

/**
 * `asked` and `done` prompts; where there are any, those of the other states, `open` ones, and `kept` answers of an earlier call.
 * `seconds` of this run; `prompt_tokens` and `completion_tokens` of all answers.
 */
type BatchCounts = Readonly<Record<string, number>>;

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

// ------------------------------------------------------------------------------------------------------ workers

/** Tools of a worker besides `done`. */
export const workerTools = ["read", "grep", "list", "edit", "write"] as const;

/** Who does a task: of the settings, or an agent of another program. */
export interface Worker {
  /** Absent: nothing says whether the work is done, and its state is never `verified`. */
  readonly verifier?: Verifier | undefined;
  /** Added to the system prompt. */
  readonly instructions?: string | undefined;
  /** Absent: all. */
  readonly tools?: readonly (typeof workerTools)[number][] | undefined;
  readonly profile?: string | undefined;
  readonly model?: string | undefined;
}

/** Decides whether the work is done: a command that ends with 0, or a file of the copy that matches a schema. */
interface Verifier {
  /** For people: `tests`, or the command. */
  readonly name: string;
  /** Program and arguments. */
  readonly verify?: readonly string[] | undefined;
  readonly schema?: JsonSchema | undefined;
  /** That must match `schema`. */
  readonly file?: string;
  /** Seconds. */
  readonly timeout: number;
}

/** What a verifier found: `exit code 0`, `it did not end within 60 s`, and the end of what it printed. */
export interface Verdict {
  readonly passed: boolean;
  readonly how: string;
  readonly output: string;
}

/** A copy of files of the user. Each method throws `InvalidRequest` for what it refuses; the model reads its message. */
export interface Workspace {
  /** That of the operation, too. */
  readonly id: string;
  /** What was not copied, and why. */
  readonly notes: readonly string[];
  /** Names of files, below a folder if one is given. */
  list(folder?: string): Promise<readonly string[]>;
  /** The text from a line on, as far as it is shown at once. */
  read(path: string, firstLine?: number): Promise<string>;
  /** Lines that contain a text: `a.ts:7: ...`. */
  grep(text: string, folder?: string): Promise<readonly string[]>;
  /** Replaces the only place of `before`. Resolves to the bytes of the file. */
  edit(path: string, before: string, after: string): Promise<number>;
  /** Makes a file, or replaces it. Resolves to its bytes. */
  write(path: string, text: string): Promise<number>;
  /** The whole text of a file; undefined if there is none. */
  text(path: string): Promise<string | undefined>;
  /** Runs its verifier's command on a copy of the copy, so that what it writes is no part of the work. Throws `Cancelled`. */
  run(signal: AbortSignal): Promise<Verdict>;
  /** The changes, which it keeps for `apply` in place of the copy; a diff is for `git apply`, or says why there is none. */
  keep(signal: AbortSignal): Promise<Delegated["files"]>;
  /** Deletes the copy. */
  remove(): Promise<void>;
}

export interface WorkerRequest extends Worker {
  readonly task: string;
  /** Has the same verifier. */
  readonly workspace: Workspace;
  /** Tokens are those of all answers, bytes and files what is written. */
  readonly limits?: Partial<Record<"turns" | "tokens" | "seconds" | "bytes" | "files", number>> | undefined;
}

/** `verified`: the verifier passed on exactly these changes. `do_it_yourself`: there are no changes to apply. */
export interface Delegated {
  readonly state: "verified" | "unverified" | "do_it_yourself";
  /** At most some 150 tokens: facts of the program, then the model's own words, marked as such. */
  readonly summary: string;
  readonly files: readonly { readonly path: string; readonly kind: "added" | "changed"; readonly diff: string }[];
  /** The last run of the verifier. */
  readonly check?: Verdict & { readonly name: string };
  /** The last calls, with what came of them. */
  readonly tried: readonly string[];
  readonly model: string;
  readonly turns: number;
  readonly tokens: { readonly prompt: number; readonly completion: number };
  readonly notes: readonly string[];
}

export interface Workers {
  /** The worker of the settings of that name, else `agent`. Throws `InvalidRequest` with the names that there are. */
  named(name: string, agent: Worker | undefined): Worker;
  /** Removes the workspace at the end, unless there are changes to apply. */
  start(caller: CallerContext, request: WorkerRequest): Operation<Delegated>;
}

/** The added and removed lines of a file's diff, each with its `+` or `-`. */
export function changedLines(diff: string): readonly string[] {
  const hunks = diff.indexOf("\n@@ ");
  return hunks < 0
    ? []
    : diff
        .slice(hunks)
        .split("\n")
        .filter((line) => /^[+-]/.test(line));
}
