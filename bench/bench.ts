/** One number of the project: measured by `npm run bench -- NAME`, one file per bench. */
export interface Bench {
  readonly name: string;
  /** One line, shown in the list of benches. */
  readonly summary: string;
  /** Names of options that take a value, beside `--json`; absent: none. */
  readonly options?: readonly string[];
  /** Names of options that take no value; a given one is "". Absent: none. */
  readonly flags?: readonly string[];
  /** Shown by `--help` after the summary: the meaning of the options and of the JSON fields. */
  readonly help?: string;
  /** Runs the sources alone: nothing is built before it. */
  readonly runsSources?: true;
  /** `options` are those that were given. Throws with a message for the user when they can't be used. */
  run(options: Readonly<Record<string, string | undefined>>): Promise<BenchResult>;
}

export interface BenchResult {
  /** All rows have the same keys; units stand in the keys (`median_ms`). */
  readonly rows: readonly Readonly<Record<string, string | number>>[];
  /** Fields beside the rows in the JSON form, for programs that need one number; keys contain the unit. */
  readonly totals?: Readonly<Record<string, number>>;
  /** All that `--json` prints, in one line; absent: rows, totals and verdict. */
  readonly line?: Readonly<Record<string, number>>;
  /** The bar and what was reached, in a sentence; absent where a bench only informs. */
  readonly verdict?: string;
  /** Whether the bar was reached; absent where there is none. `false` makes the command fail. */
  readonly passed?: boolean;
}
