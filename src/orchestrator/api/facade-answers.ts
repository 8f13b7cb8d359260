/** How answers are checked, and how long files are read in parts. */
/**
 * `quotes`: what the answer states is looked for in the files; `judged`: a local model judges it, too. `agree`: several short answers have to
 * agree, or those of two models. `command`: one
 * that the user named in the settings exits with 0. Answers with a `format` are validated in any case.
 */
export const checks = ["none", "quotes", "judged", "agree"] as const;
export type Check = (typeof checks)[number] | { readonly command: string } | { readonly agree: string };

/** `auto`: files beyond the widest window are read in parts, and so is a prompt if the request says so. */
export const splits = ["auto", "none"] as const;
export type Split = (typeof splits)[number];

/**
 * What is known of a statement. `quoted`: the words that it quotes stand in a file. `value_found`: its numbers, dates,
 * identifiers and names do. Neither says that it is true: the line beside it shows whether it is. `not_judged`: it has
 * nothing that could be looked for. Only a model that was asked to judge says `supported` or `contradicted`.
 */
export const statementStatuses = [
  "quoted",
  "value_found",
  "not_found",
  "not_judged",
  "supported",
  "contradicted",
] as const;

/** A statement of an answer, and what stands in the files about it. */
export interface CheckedStatement {
  readonly text: string;
  readonly status: (typeof statementStatuses)[number];
  /** `app.yaml:2`, `app.yaml:2-3`, several with commas; of `not_found` and `not_judged` what is nearest by its words. */
  readonly where?: string | undefined;
  /** What stands there, in at most 160 characters. */
  readonly line?: string | undefined;
}

/** What the check of an answer found. */
export interface CheckResult {
  readonly kind: Exclude<(typeof checks)[number], "none"> | "command";
  /** None for `agree` and `command`. */
  readonly statements: readonly CheckedStatement[];
  /** Why another model was asked, one sentence; absent if none had to be. */
  readonly problem?: string;
  /** `agree`: how many of the answers are equal, and what the others say. */
  readonly votes?: {
    readonly equal: number;
    readonly total: number;
    readonly others: readonly { readonly text: string; readonly count: number }[];
  };
}

/** Which values of a JSON answer stand in the text that it was made from. By JSON pointer; the rest is null. */
export interface GroundedValues {
  /** `/total` → `invoice.txt:7`. */
  readonly where: Readonly<Record<string, string>>;
  /** Booleans, enumerations, long texts, and what is made of the text, such as a summary. */
  readonly notJudged: readonly string[];
}

/** Which parts of long files an answer is made from. */
export interface PartsRead {
  readonly total: number;
  /** Names of the passages that were read (`guide.md: 3 Ports`), in their order; absent if not only passages were. */
  readonly read?: readonly string[];
  /** The share of the text that was read, by its tokens; absent if all of it was. */
  readonly share?: number;
  /** Parts that could not be read, with the reason. The answer lacks what they say. */
  readonly missing?: readonly { readonly part: string; readonly reason: string }[];
}

/** How much of long files was read so far. */
export interface PartsProgress {
  /** Names of the parts that were read. */
  readonly done: readonly string[];
  readonly total: number;
  /** Tokens of the parts that were read, and of all. */
  readonly doneTokens: number;
  readonly totalTokens: number;
}

/** A query over the rows of the files, which the answer is made from. */
export interface QueriedRows {
  readonly language: "sql";
  /** As it was run. */
  readonly text: string;
  /** The first ones, by the names of their columns. */
  readonly rows: readonly Readonly<Record<string, string | number | null>>[];
  /** How many rows there are; absent if `rows` are all. */
  readonly total?: number;
}
