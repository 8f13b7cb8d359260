/** A thread that holds the rows of one request's files in a database in memory, and runs queries of models on them. */
import { readFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import initSqlJs, { type Database } from "sql.js";
import { builtFile } from "../util/programs.ts";
import { shortened } from "../util/format-bytes.ts";
import { messageOf } from "../util/values.ts";
import type { Column, Value } from "./column.ts";
import { checkedQuery, doubtsOf, missingValues, namedIn, typeProblem, withDays, withTable } from "./query-check.ts";
import { type Table, tablesOf } from "./table.ts";

/** What models are told of a table. */
export interface TableOutline extends Pick<Table, "name" | "notes"> {
  readonly rows: number;
  readonly columns: readonly (Column & {
    readonly hasEmpty: boolean;
    /** All of its values, if it has few, else the first ones. */
    readonly values: readonly Value[];
    readonly areAll: boolean;
  })[];
}

export interface QueryRows {
  /** As it was run. */
  readonly text: string;
  readonly columns: readonly string[];
  /** The first ones; dates as the file writes them. */
  readonly rows: readonly (readonly Value[])[];
  readonly total: number;
  /** Why it may not ask what the question asks. */
  readonly doubts: readonly string[];
}

/** What the thread sends: the outline once, then the end of each query. */
export type QueryReport =
  | { readonly tables: readonly TableOutline[] }
  | { readonly found: QueryRows }
  /** The files hold no rows, or the query can't be run. */
  | { readonly problem: string };

const maxRows = 200;
const maxListed = 12;
const maxCharacters = 48;
/** Limit for the database: a query that needs more fails. */
const maxBytes = 512_000_000;

const report = (message: QueryReport): void => parentPort?.postMessage(message);

/** The database, which can't be written any more. */
async function opened(tables: readonly Table[]): Promise<Database> {
  const { Database } = await initSqlJs({
    wasmBinary: readFileSync(builtFile("sql-wasm.wasm")),
    useOldExtensionFunctions: false,
  });
  const database = new Database();
  database.run(`PRAGMA hard_heap_limit = ${maxBytes}`);
  for (const { name, columns, rows } of tables) {
    const types = { INTEGER: "INTEGER", REAL: "REAL", TEXT: "TEXT", DATE: "TEXT", BOOLEAN: "INTEGER" } as const;
    database.run(`CREATE TABLE "${name}" (${columns.map((each) => `"${each.name}" ${types[each.type]}`).join(", ")})`);
    database.run("BEGIN");
    const insert = database.prepare(`INSERT INTO "${name}" VALUES (${columns.map(() => "?").join(", ")})`);
    for (const row of rows) insert.run(row);
    insert.free();
    database.run("COMMIT");
  }
  addFunctions(database);
  database.run("PRAGMA query_only = ON");
  return database;
}

/** Functions of other databases that models use, and SQLite lacks. */
function addFunctions(database: Database): void {
  const numbers = (finish: (values: readonly number[]) => number | null) => ({
    init: (): number[] => [],
    step: (state: number[], value: unknown): number[] => {
      if (typeof value === "number") state.push(value);
      return state;
    },
    finalize: (state: number[]) => (state.length === 0 ? null : finish(state)),
  });
  const median = (values: readonly number[]): number => {
    const sorted = values.toSorted((a, b) => a - b);
    const middle = (sorted.length - 1) / 2;
    return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2;
  };
  const deviation = (values: readonly number[]): number | null => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return values.length < 2 ? null : Math.sqrt(squares / (values.length - 1));
  };
  database.create_aggregate("median", numbers(median));
  for (const name of ["stddev", "stdev"]) database.create_aggregate(name, numbers(deviation));
  const part = (from: number, to: number) => (date: unknown) =>
    typeof date === "string" && /^\d{4}-\d{2}-\d{2}/.test(date) ? Number(date.slice(from, to)) : null;
  database.create_function("year", part(0, 4));
  database.create_function("month", part(5, 7));
  database.create_function("day", part(8, 10));
}

function outlineOf({ name, columns, rows, notes }: Table): TableOutline {
  return {
    name,
    rows: rows.length,
    columns: columns.map((column, at) => {
      const values = new Set<Value>();
      let hasEmpty = false;
      for (const row of rows) {
        const value = row[at] ?? null;
        if (value === null) hasEmpty = true;
        else if (values.size <= maxListed) values.add(value);
      }
      const areAll = values.size <= maxListed;
      return { ...column, hasEmpty, values: [...values].slice(0, maxListed).map(cut), areAll };
    }),
    notes,
  };
}

const cut = (value: Value): Value => (typeof value === "string" ? shortened(value, maxCharacters) : value);

/** Throws what is wrong with the query, in SQLite's words where it finds it. */
function run(database: Database, sql: string, tables: readonly Table[], question: string): QueryRows {
  const names = tables.flatMap(({ name, columns }) => [name, ...columns.map((column) => column.name)]);
  const named = namedIn(tables);
  const text = withDays(checkedQuery(withTable(sql, tables), names), named);
  const problem = typeProblem(text, named);
  if (problem !== undefined) throw new Error(problem);
  const statement = database.prepare(text);
  try {
    const rows: (readonly Value[])[] = [];
    let total = 0;
    while (statement.step()) {
      total += 1;
      if (total <= maxRows) rows.push(statement.get().map(plain));
    }
    const has = (column: string, operator: string, literal: string) =>
      tables.some((table) => hasValue(database, table, column, operator, literal));
    const doubts = question === "" ? [] : [...missingValues(text, named, has), ...doubtsOf(question, text, tables)];
    return { text, columns: statement.getColumnNames(), rows, total, doubts };
  } finally {
    statement.free();
  }
}

function hasValue(database: Database, table: Table, column: string, operator: string, literal: string): boolean {
  const wanted = column.replaceAll('"', "").toLowerCase();
  const found = table.columns.find((each) => each.name.toLowerCase() === wanted);
  if (found === undefined) return false;
  const statement = database.prepare(
    `SELECT 1 FROM "${table.name}" WHERE "${found.name}" ${operator} ${literal} LIMIT 1`,
  );
  try {
    return statement.step();
  } finally {
    statement.free();
  }
}

/** What there is in place of a name that a query made up. */
function withNames(problem: string, tables: readonly Table[]): string {
  if (!problem.startsWith("no such ") || problem.startsWith("no such function")) return problem;
  return `${problem}; there is ${tables.map(({ name, columns }) => `${name} (${columns.map((each) => each.name).join(", ")})`).join(", ")}`;
}

/** Sums of decimals have digits that no file has: 0.1 + 0.2. */
function plain(cell: unknown): Value {
  if (typeof cell === "number") return Number.isInteger(cell) ? cell : Number(cell.toPrecision(14));
  return typeof cell === "string" ? cell : null;
}

/** Dates as in files that have 31.12.2025; the database has 2025-12-31. */
function writtenDates(tables: readonly Table[]): (value: Value) => Value {
  const isGerman = tables.some(({ columns }) =>
    columns.some(({ written = "" }) => /^\d{1,2}\.\d{1,2}\.\d{2,4}$/.test(written)),
  );
  if (!isGerman) return (value) => value;
  return (value) => (typeof value === "string" ? value.replace(/^(\d{4})-(\d{2})-(\d{2})$/, "$3.$2.$1") : value);
}

async function serve(): Promise<void> {
  const { files, question } = workerData as {
    readonly files: readonly { readonly path: string; readonly text: string }[];
    readonly question: string;
  };
  const tables = tablesOf(files);
  const database = await opened(tables);
  const shown = writtenDates(tables);
  parentPort?.on("message", (sql: string) => {
    try {
      const found = run(database, sql, tables, question);
      report({ found: { ...found, rows: found.rows.map((row) => row.map(shown)) } });
    } catch (error) {
      report({ problem: withNames(messageOf(error), tables) });
    }
  });
  report({ tables: tables.map(outlineOf) });
}

serve().catch((error: unknown) => report({ problem: messageOf(error) }));
