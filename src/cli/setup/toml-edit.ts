import { TomlError, parse, stringify } from "smol-toml";
import { advice } from "../../orchestrator/api/next-step.ts";
import { BrokenConfig, linePosition, newlineOf } from "./config-file.ts";

/**
 * Edits TOML as text, so that everything else is kept byte for byte. An entry may be written as tables, as an inline table or
 * as dotted keys, and stays so; a new entry is a table at the end of the file. Statements are found with the parser: each
 * one parses on its own, and no part of one does. The caller compares the values of the result with the wanted ones.
 */

type Values = Readonly<Record<string, unknown>>;
type Path = readonly string[];

/** A key with its value, which may span several lines. */
interface Pair {
  /** The path of its table, followed by that of the key. */
  readonly path: Path;
  /** Offsets of its lines, with the last line break. */
  readonly start: number;
  readonly end: number;
  /** Offset after `=`. */
  readonly valueStart: number;
}

/** A table with its pairs; the first one is the document, without a header. */
interface Table {
  readonly kind: "document" | "table" | "array";
  readonly path: Path;
  readonly start: number;
  /** Offset after its last pair, or after its header. */
  end: number;
  readonly pairs: Pair[];
}

/** Throws `BrokenConfig` that names line and column. */
export function readToml(text: string): Values {
  try {
    return parse(text, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const what = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "");
    throw new BrokenConfig(what, { line: error.line, column: error.column });
  }
}

/** Adds the table of a new entry. Throws `BrokenConfig` if the container can't be extended by a table. */
function addEntry(text: string, tables: readonly Table[], [container = "", name = ""]: Path, entry: Values): string {
  const list = tables.find(({ kind, path }) => kind === "array" && isSame(path, [container]));
  if (list !== undefined) throw oneValue(text, container, list.start);
  const newline = newlineOf(text);
  const block = stringify({ [container]: { [name]: entry } })
    .trimEnd()
    .replaceAll("\n", newline);
  if (text === "") return block + newline;
  // Without a final line break none is added, so that removing the entry restores the file.
  return text.endsWith("\n") ? text + newline + block + newline : text + newline + newline + block;
}

/**
 * Sets the value at `path`, which begins with container and name of an entry, or removes it for undefined, with all its
 * tables. A new entry is a table. Throws `BrokenConfig` if the container is one value.
 */
export function setTomlValue(text: string, path: Path, value: unknown): string {
  const tables = tablesOf(text);
  const pairs = tables.flatMap((table) => table.pairs);
  const holder = pairs.find((pair) => isWithin(path, pair.path));
  if (holder !== undefined) {
    const [container = ""] = path;
    if (holder.path.length === 1) throw oneValue(text, container, holder.start);
    if (value === undefined && isSame(holder.path, path)) return cut(text, holder);
    return replaceValue(text, holder, withValue(valueAt(text, holder.path), path.slice(holder.path.length), value));
  }
  if (value === undefined) return removeAll(text, tables, path);
  const old = valueAt(text, path);
  if (old === undefined && path.length === 2 && isTable(value)) return addEntry(text, tables, path, value);
  if (isTable(old)) {
    const wanted = isTable(value) ? value : {};
    return [...new Set([...Object.keys(old), ...Object.keys(wanted)])]
      .filter((key) => old[key] !== wanted[key])
      .reduce((edited, key) => setTomlValue(edited, [...path, key], wanted[key]), text);
  }
  const parent = path.slice(0, -1);
  const table = tables.find((one) => one.kind === "table" && isSame(one.path, parent));
  // Without a table the parent is written as dotted keys.
  const last = table ?? pairs.findLast((pair) => isWithin(pair.path, parent));
  if (last === undefined) {
    throw new BrokenConfig(
      `[${parent.join(".")}] is written in a form that can't be edited`,
      { line: 1, column: 1 },
      advice(`write it as one table [${parent.join(".")}]`),
    );
  }
  const depth = (table ?? tables.find((one) => one.pairs.some((pair) => pair === last)))?.path.length ?? 0;
  const line = `${path.slice(depth).map(renderKey).join(".")} = ${renderValue(value)}`;
  return insertLine(text, last.end, line);
}

/** The tables of a *valid* document. */
function tablesOf(text: string): readonly Table[] {
  let table: Table = { kind: "document", path: [], start: 0, end: 0, pairs: [] };
  const tables = [table];
  let start = 0;
  let end = 0;
  for (const line of text.split(/(?<=\n)/)) {
    const isFirstLine = start === end;
    end += line.length;
    // A value of several lines ends with one of these.
    if (!isFirstLine && !/"""|'''|[\]}]/.test(line)) continue;
    const statement = text.slice(start, end);
    const values = valuesIn(statement);
    if (values === undefined) continue;
    const [, bracket] = /^\s*(\[\[?)/.exec(statement) ?? [];
    if (bracket !== undefined) {
      table = { kind: bracket === "[" ? "table" : "array", path: pathIn(values), start, end, pairs: [] };
      tables.push(table);
    } else if (Object.keys(values).length > 0) {
      const { path, length } = keyOf(statement);
      table.pairs.push({ path: [...table.path, ...path], start, end, valueStart: start + length });
      table.end = end;
    }
    start = end;
  }
  return tables;
}

/** The values of a part of a document; undefined if it is not complete. */
function valuesIn(part: string): Values | undefined {
  try {
    return parse(part, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (error instanceof TomlError) return undefined;
    throw error;
  }
}

/** The path in values that have one key at each level. */
function pathIn(values: unknown): Path {
  const [entry] = isTable(values) ? Object.entries(values) : [];
  return entry === undefined ? [] : [entry[0], ...pathIn(entry[1])];
}

/** The key of a pair, and its length with the equals sign. A quoted key may contain others. */
function keyOf(statement: string): { readonly path: Path; readonly length: number } {
  let length = statement.indexOf("=") + 1;
  for (;;) {
    const values = valuesIn(`${statement.slice(0, length)} 0`);
    if (values !== undefined) return { path: pathIn(values), length };
    length = statement.indexOf("=", length) + 1;
  }
}

/** Replaces a value; a comment after it stays. */
function replaceValue(text: string, { start, end, valueStart }: Pair, value: unknown): string {
  const first = Math.max(valueStart, text.lastIndexOf("\n", end - 2) + 1);
  const hash = [...text.slice(first, end).matchAll(/#/g)]
    .map(({ index }) => first + index)
    .find((index) => valuesIn(text.slice(start, index)) !== undefined);
  const valueEnd = hash ?? end;
  const old = text.slice(valueStart, valueEnd);
  const before = /^[ \t]*/.exec(old)?.[0] ?? "";
  const after = /\s*$/.exec(old)?.[0] ?? "";
  return text.slice(0, valueStart) + before + renderValue(value) + after + text.slice(valueEnd);
}

/** Removes the tables and pairs at `path` and below it, each table with the empty line before it. */
function removeAll(text: string, tables: readonly Table[], path: Path): string {
  return tables.reduceRight((left, table) => {
    if (!isWithin(table.path, path)) {
      return table.pairs.reduceRight((rest, pair) => (isWithin(pair.path, path) ? cut(rest, pair) : rest), left);
    }
    const isLast = table.end >= left.length && !left.endsWith("\n");
    const before = left.slice(0, table.start).replace(/(^|\n)[ \t]*\r?\n$/, "$1");
    return (isLast ? before.replace(/\r?\n$/, "") : before) + left.slice(table.end);
  }, text);
}

function cut(text: string, { start, end }: Pair): string {
  return text.slice(0, start) + text.slice(end);
}

function insertLine(text: string, at: number, line: string): string {
  const newline = newlineOf(text);
  const isOpen = at > 0 && text[at - 1] !== "\n";
  return text.slice(0, at) + (isOpen ? newline + line : line + newline) + text.slice(at);
}

function oneValue(text: string, container: string, offset: number): BrokenConfig {
  return new BrokenConfig(
    `${container} is written as one value, to which no entry can be added`,
    linePosition(text, offset),
    advice(`write each server as a table of its own: [${container}.NAME]`),
  );
}

function isSame(path: Path, other: Path): boolean {
  return path.length === other.length && isWithin(path, other);
}

/** Whether `path` is `outer` or below it. */
function isWithin(path: Path, outer: Path): boolean {
  return outer.every((part, index) => path[index] === part);
}

function valueAt(text: string, path: Path): unknown {
  return path.reduce<unknown>((value, key) => (isTable(value) ? value[key] : undefined), readToml(text));
}

/** `values` with the value at `path`, or without it for undefined. */
function withValue(values: unknown, [key, ...rest]: Path, value: unknown): unknown {
  if (key === undefined) return value;
  const { [key]: old, ...others } = isTable(values) ? values : {};
  const inner = withValue(old, rest, value);
  return inner === undefined ? others : { ...(isTable(values) ? values : {}), [key]: inner };
}

function isTable(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

const renderKey = (key: string): string => stringify({ [key]: 0 }).replace(/ = 0\n$/, "");

/** A value on one line, as the library writes it inside an array. */
const renderValue = (value: unknown): string =>
  /^v = \[ \[ (.*) \] \]$/.exec(stringify({ v: [[value]] }).trimEnd())?.[1] ?? "";
