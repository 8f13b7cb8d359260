/** How answers are checked, and how long files are read in parts. */
/**
 * `quotes`: each statement has to be supported by a literal quote from the files. `agree`: several short answers have to
 * agree. Answers with a `format` are validated in any case.
 */
export const checks = ["none", "quotes", "agree"] as const;
export type Check = (typeof checks)[number];

/** `auto`: files beyond the widest window are read in parts, and so is a prompt if the request says so. */
export const splits = ["auto", "none"] as const;
export type Split = (typeof splits)[number];

/** A quote from an answer, looked for in the files. */
export interface CheckedQuote {
  readonly statement: string;
  /** Empty if the answer gave none. */
  readonly quote: string;
  /** Where it begins; both absent if the files don't contain it, or if it does not support the statement. */
  readonly path?: string;
  /** From 1. */
  readonly line?: number;
}

/** An answer of `agree` that is not the majority's. */
export interface Dissent {
  readonly text: string;
  readonly count: number;
}

/** What the check of an answer found. */
export interface CheckResult {
  readonly check: Exclude<Check, "none">;
  readonly hasPassed: boolean;
  /** What failed, one sentence; present exactly if the answer has not passed. */
  readonly problem?: string;
  /** `quotes`: the supported statements of `total`; `agree`: the equal answers of `total`. */
  readonly verified: number;
  readonly total: number;
  readonly quotes?: readonly CheckedQuote[];
  readonly dissent?: readonly Dissent[];
}

/** Which parts of long files an answer is made from. */
export interface PartsRead {
  readonly total: number;
  /** Names of the parts that were read (`guide.md: 3 Ports`), in their order; absent if all of them were. */
  readonly read?: readonly string[];
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
