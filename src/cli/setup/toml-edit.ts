import { TomlError, parse } from "smol-toml";
import { advice } from "../../orchestrator/api/next-step.ts";
import { BrokenConfig, linePosition, newlineOf } from "./config-file.ts";
import { type TomlStatement, scanToml } from "./toml-scan.ts";

/**
 * Edits TOML as text, so that everything else is kept byte for byte. An existing entry `[container.name]` may be written as
 * tables, as an inline table or as dotted keys; a new entry is a table at the end of the file.
 */

type Values = Readonly<Record<string, unknown>>;
type Pair = Extract<TomlStatement, { kind: "pair" }>;

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
export function addTomlEntry(text: string, container: string, name: string, entry: Values): string {
  const blocking = scanToml(text).find(
    (statement) =>
      statement.path[0] === container &&
      ((statement.kind === "array" && statement.path.length === 1) ||
        (statement.kind === "pair" && statement.path.length === 1)),
  );
  if (blocking !== undefined) throw inlineContainer(text, container, blocking);
  const newline = newlineOf(text);
  const block = renderTables([container, name], entry).join(newline);
  if (text === "") return block + newline;
  // Without a final line break none is added, so that removing the entry restores the file.
  return text.endsWith("\n") ? text + newline + block + newline : text + newline + newline + block;
}

/** Sets one value of an existing entry, or removes it for undefined. */
export function setTomlValue(
  text: string,
  container: string,
  name: string,
  key: string,
  value: unknown,
  entry: Values,
): string {
  const statements = scanToml(text);
  const header = statements.find((one) => one.kind === "table" && isPath(one.path, [container, name]));
  if (header === undefined) return rewriteSpelled(text, statements, container, name, { ...entry, [key]: value });
  const path = [container, name, key];
  const inTables = statements.filter((one) => one.kind === "table" && isPath(one.path.slice(0, 3), path));
  const pairs = statements.filter((one): one is Pair => one.kind === "pair" && isPath(one.path.slice(0, 3), path));
  const [pair] = pairs;
  if (inTables.length > 0) {
    // A sub-table is replaced as a whole.
    const without = removeStatements(text, statements, (one) => isPath(one.path.slice(0, 3), path));
    if (value === undefined) return without;
    const newline = newlineOf(text);
    const block = renderTables(path, value as Values).join(newline);
    const at = endOfTable(without, scanToml(without), [container, name]);
    return insertLines(without, at, newline + block);
  }
  if (value === undefined) return pairs.toReversed().reduce((rest, one) => cutLine(rest, one), text);
  if (pair !== undefined && pairs.length === 1 && pair.path.length === 3) {
    return text.slice(0, pair.valueStart) + renderValue(value) + text.slice(pair.valueEnd);
  }
  const without = pairs.toReversed().reduce((rest, one) => cutLine(rest, one), text);
  const at = endOfTable(without, scanToml(without), [container, name]);
  return insertLines(without, at, `${renderKey(key)} = ${renderValue(value)}`);
}

/** Removes the entry with all its sub-tables, if there is one. */
export function removeTomlEntry(text: string, container: string, name: string): string {
  const statements = scanToml(text);
  const inline = statements.find((one) => one.kind === "pair" && isPath(one.path, [container]));
  if (inline !== undefined) throw inlineContainer(text, container, inline);
  return removeStatements(text, statements, (one) => isPath(one.path.slice(0, 2), [container, name]));
}

function inlineContainer(text: string, container: string, statement: TomlStatement): BrokenConfig {
  return new BrokenConfig(
    `${container} is written as one value, to which no entry can be added`,
    linePosition(text, statement.start),
    advice(`write each server as a table of its own: [${container}.NAME]`),
  );
}

function rewriteSpelled(
  text: string,
  statements: readonly TomlStatement[],
  container: string,
  name: string,
  entry: Values,
): string {
  const ours = statements.filter(
    (one): one is Pair => one.kind === "pair" && isPath(one.path.slice(0, 2), [container, name]),
  );
  const [first] = ours;
  if (
    first === undefined ||
    statements.some((one) => one.kind === "table" && isPath(one.path.slice(0, 2), [container, name]))
  ) {
    const inline = statements.find((one) => one.kind === "pair" && isPath(one.path, [container]));
    if (inline !== undefined) throw inlineContainer(text, container, inline);
    throw new BrokenConfig(
      `[${container}.${name}] is written in a form that can't be edited`,
      { line: 1, column: 1 },
      advice(`write it as one table [${container}.${name}]`),
    );
  }
  const key = [container, name].slice(first.tableDepth).map(renderKey).join(".");
  const line = `${key} = ${renderValue(withoutUndefined(entry))}`;
  const rest = ours
    .slice(1)
    .toReversed()
    .reduce((left, one) => cutLine(left, one), text);
  return rest.slice(0, first.keyStart) + line + rest.slice(first.valueEnd);
}

/** Removes statements, tables with their pairs, each with the empty line before it. */
function removeStatements(
  text: string,
  statements: readonly TomlStatement[],
  isGone: (statement: TomlStatement) => boolean,
): string {
  let left = text;
  for (let index = statements.length - 1; index >= 0; index -= 1) {
    const statement = statements[index];
    if (statement === undefined || !isGone(statement)) continue;
    if (statement.kind === "pair") {
      const header = headerOf(statements, index);
      // Pairs of a removed table are removed with it.
      if (header === undefined || !isGone(header)) left = cutLine(left, statement);
      continue;
    }
    let last: TomlStatement = statement;
    for (const next of statements.slice(index + 1)) {
      if (next.kind !== "pair") break;
      last = next;
    }
    left = cutBlock(left, statement.start, last.end);
  }
  return left;
}

function headerOf(statements: readonly TomlStatement[], index: number): TomlStatement | undefined {
  return statements.slice(0, index).findLast((one) => one.kind !== "pair");
}

function cutBlock(text: string, start: number, end: number): string {
  const isLast = end >= text.length && !text.endsWith("\n");
  const before = text.slice(0, start).replace(/(^|\n)[ \t]*\r?\n$/, "$1");
  const kept = isLast ? before.replace(/\r?\n$/, "") : before;
  return kept + text.slice(end);
}

function cutLine(text: string, { start, end }: { readonly start: number; readonly end: number }): string {
  return text.slice(0, start) + text.slice(end);
}

/** The offset after the last pair of a table, or after its header. */
function endOfTable(text: string, statements: readonly TomlStatement[], path: readonly string[]): number {
  const index = statements.findIndex((one) => one.kind === "table" && isPath(one.path, path));
  let end = statements[index]?.end ?? text.length;
  for (const next of statements.slice(index + 1)) {
    if (next.kind !== "pair") break;
    end = next.end;
  }
  return end;
}

function insertLines(text: string, at: number, lines: string): string {
  const newline = newlineOf(text);
  const isOpen = at > 0 && text[at - 1] !== "\n";
  return text.slice(0, at) + (isOpen ? newline + lines : lines + newline) + text.slice(at);
}

function isPath(path: readonly string[], wanted: readonly string[]): boolean {
  return path.length === wanted.length && wanted.every((part, index) => path[index] === part);
}

function withoutUndefined(values: Values): Values {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

/** The lines of a table, followed by those of its sub-tables. */
function renderTables(path: readonly string[], values: Values): readonly string[] {
  const entries = Object.entries(values);
  const pairs = entries.filter(([, value]) => !isTable(value));
  const tables = entries.filter((entry): entry is [string, Values] => isTable(entry[1]));
  return [
    `[${path.map(renderKey).join(".")}]`,
    ...pairs.map(([key, value]) => `${renderKey(key)} = ${renderValue(value)}`),
    ...tables.flatMap(([key, value]) => ["", ...renderTables([...path, key], value)]),
  ];
}

function isTable(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function renderKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : renderString(key);
}

function renderValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(renderValue).join(", ")}]`;
  if (isTable(value)) {
    const pairs = Object.entries(value).map(([key, inner]) => `${renderKey(key)} = ${renderValue(inner)}`);
    return pairs.length === 0 ? "{}" : `{ ${pairs.join(", ")} }`;
  }
  if (typeof value === "string") return renderString(value);
  return value instanceof Date ? value.toISOString() : String(value);
}

/** TOML has the escapes of JSON, but requires DEL to be escaped, too. */
function renderString(text: string): string {
  return JSON.stringify(text).replaceAll("\u007F", "\\u007F");
}
