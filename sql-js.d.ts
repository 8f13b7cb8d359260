/** What of sql.js is used; it has no declarations of its own. */
declare module "sql.js" {
  type Cell = string | number | Uint8Array | null;
  interface Statement {
    run(values: readonly Cell[]): void;
    step(): boolean;
    get(): Cell[];
    getColumnNames(): string[];
    free(): void;
  }
  export interface Database {
    run(sql: string): unknown;
    prepare(sql: string): Statement;
    create_aggregate(
      name: string,
      functions: { init(): unknown; step(state: never, ...values: Cell[]): unknown; finalize(state: never): Cell },
    ): unknown;
    create_function(name: string, call: (...values: never[]) => Cell): unknown;
  }
  export default function initSqlJs(options: {
    readonly wasmBinary: Uint8Array;
    readonly useOldExtensionFunctions: false;
  }): Promise<{ readonly Database: new () => Database }>;
}
