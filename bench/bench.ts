/** One number of the project: measured by `npm run bench -- NAME`, one file per bench. */
export interface Bench {
  readonly name: string;
  /** One line, shown in the list of benches. */
  readonly summary: string;
  run(): Promise<BenchResult>;
}

export interface BenchResult {
  /** All rows have the same keys; units stand in the keys (`median_ms`). */
  readonly rows: readonly Readonly<Record<string, string | number>>[];
  /** The bar and what was reached, in a sentence; absent where a bench only informs. */
  readonly verdict?: string;
  /** Whether the bar was reached; absent where there is none. `false` makes the command fail. */
  readonly passed?: boolean;
}
