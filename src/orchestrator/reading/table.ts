import { type Column, type Value, columnOf, looksLikeData } from "./column.ts";

/** A file of rows as a table of a database. */
export interface Table {
  readonly name: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Value[])[];
  /** What of the file the table lacks or takes for something that it may not be, a sentence each. */
  readonly notes: readonly string[];
}

/** SQLite allows 2,000 columns; a model would not find its way among so many. */
const maxColumns = 200;

/** Reads files of rows: comma, semicolon or tab separated values, or JSON lines. Throws an `Error` for any other text. */
export function tablesOf(files: readonly { readonly path: string; readonly text: string }[]): readonly Table[] {
  const names = distinct(files.map(({ path }) => identifier(baseName(path), "t")));
  return files.map(({ path, text }, at) => tableOf(names[at] ?? "t", path, text.replace(/^\uFEFF/, "")));
}

function tableOf(name: string, path: string, text: string): Table {
  const isLines = /\.(?:jsonl|ndjson)$/i.test(path);
  const { header, records, notes } = isLines
    ? recordsOfLines(text)
    : recordsOfCells(text, /\.(?:tsv|tab)$/i.test(path));
  if (header.length === 0 || records.length === 0) throw new Error(`${path} has no rows`);
  if (header.length > maxColumns) throw new Error(`${path} has ${header.length} columns, ${maxColumns} can be queried`);
  const names = distinct(header.map((given, at) => identifier(given, `column_${at + 1}`)));
  const cellsOf = (at: number) => records.map((record) => record[at]);
  const usesComma = header.some((_, at) =>
    cellsOf(at).some((cell) => typeof cell === "string" && /^-?\d+,\d{1,2}$/.test(cell.trim())),
  );
  const isContinental = usesComma || /^[^\n]*;/.test(text);
  const columns = names.map((column, at) => columnOf(column, header[at] ?? "", cellsOf(at), isContinental));
  return {
    name,
    columns: columns.map(({ column }) => column),
    rows: records.map((_, row) => columns.map(({ values }) => values[row] ?? null)),
    notes: [...notes, ...columns.flatMap(({ notes: own }) => own)].map((note) => `${path}: ${note}`),
  };
}

interface Records {
  readonly header: readonly string[];
  readonly records: readonly (readonly unknown[])[];
  readonly notes: readonly string[];
}

/** The keys of all objects are the columns. Lists and objects inside are kept as JSON. */
function recordsOfLines(text: string): Records {
  const keys = new Map<string, number>();
  const records: unknown[][] = [];
  let broken = 0;
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const object = parsed(line);
    if (typeof object !== "object" || object === null || Array.isArray(object)) {
      broken += 1;
      continue;
    }
    const record: unknown[] = [];
    for (const [key, value] of Object.entries(object)) {
      let at = keys.get(key);
      if (at === undefined) keys.set(key, (at = keys.size));
      record[at] = typeof value === "object" && value !== null ? JSON.stringify(value) : value;
    }
    records.push(record);
  }
  if (broken > records.length) throw new Error("most lines are no JSON objects");
  const notes = broken === 0 ? [] : [`${lines(broken)} no JSON object and left out`];
  return { header: [...keys.keys()], records, notes };
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function recordsOfCells(text: string, hasTabs: boolean): Records {
  const all = cellsIn(text, hasTabs ? "\t" : delimiterOf(text)).filter((cells) => cells.some((cell) => cell !== ""));
  const [first = []] = all;
  // A file without a header begins with data.
  const isHeadless = looksLikeData(first);
  const records = isHeadless ? all : all.slice(1);
  const width = Math.max(first.length, isHeadless ? Math.max(0, ...firstOf(records).map(({ length }) => length)) : 0);
  const header = isHeadless ? Array.from({ length: width }, () => "") : first;
  let [longer, shorter] = [0, 0];
  for (const { length } of records) {
    if (length > width) longer += 1;
    else if (length < width) shorter += 1;
  }
  const notes = [
    ...(isHeadless ? ["the first line holds data, so the columns have numbers for names"] : []),
    ...(longer === 0 ? [] : [`${rows(longer)} more cells than the header: the last ones are left out`]),
    ...(shorter === 0 ? [] : [`${rows(shorter)} fewer cells than the header: the last ones are empty`]),
  ];
  return { header, records, notes };
}

/** Enough to tell what a file is like. */
const sampled = 100;

function firstOf<Item>(items: readonly Item[]): readonly Item[] {
  return items.slice(0, sampled);
}

/** The separator by which the first rows have the same number of cells, the more of them the better. */
function delimiterOf(text: string): string {
  const start = text.slice(0, 65_536);
  const score = (delimiter: string): number => {
    // The last one may be cut off.
    const widths = firstOf(cellsIn(start, delimiter))
      .slice(0, -1)
      .map(({ length }) => length);
    const [width = cellsIn(start, delimiter)[0]?.length ?? 1] = widths;
    const even = widths.length === 0 ? 1 : widths.filter((each) => each === width).length / widths.length;
    return width === 1 ? 0 : even * 100 + Math.min(width, 50);
  };
  const scored = [",", ";", "\t", "|"].map((delimiter) => ({ delimiter, score: score(delimiter) }));
  return scored.reduce((best, each) => (each.score > best.score ? each : best)).delimiter;
}

/** The cells of delimited text (RFC 4180): a quoted one may hold the separator, line breaks, and quotes written twice. */
function cellsIn(text: string, delimiter: string): readonly (readonly string[])[] {
  const records: string[][] = [];
  let record: string[] = [];
  for (let at = 0; at <= text.length;) {
    let cell: string;
    [cell, at] = text[at] === '"' ? quotedCell(text, at, delimiter) : plainCell(text, at, delimiter);
    record.push(cell);
    if (text[at] === delimiter) {
      at += 1;
      continue;
    }
    records.push(record);
    record = [];
    // After the last line break nothing begins.
    at += text[at] === "\r" && text[at + 1] === "\n" ? 2 : 1;
    if (at === text.length) break;
  }
  return records;
}

type Cell = [cell: string, end: number];

function plainCell(text: string, from: number, delimiter: string): Cell {
  let at = from;
  while (at < text.length && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at += 1;
  return [text.slice(from, at).trim(), at];
}

function quotedCell(text: string, from: number, delimiter: string): Cell {
  let cell = "";
  for (let at = from + 1; ;) {
    const quote = text.indexOf('"', at);
    // A quote without an end is a character.
    if (quote < 0) return plainCell(text, from, delimiter);
    cell += text.slice(at, quote);
    if (text[quote + 1] !== '"') {
      const [rest, end] = plainCell(text, quote + 1, delimiter);
      return [cell + rest, end];
    }
    cell += '"';
    at = quote + 2;
  }
}

/** Words that SQL would take for its own. */
const reserved =
  /^(?:add|all|and|as|asc|between|by|case|check|column|commit|create|cross|default|delete|desc|distinct|drop|else|end|except|exists|foreign|from|full|group|having|in|index|inner|insert|intersect|into|is|isnull|join|key|left|like|limit|natural|not|notnull|null|offset|on|or|order|outer|over|primary|references|right|row|rows|select|set|table|then|to|transaction|trigger|union|unique|update|using|values|view|when|where|window|with)$/i;

/** A name that needs no quotes in SQL. */
function identifier(name: string, otherwise: string): string {
  const plain = name
    .normalize("NFC")
    .replaceAll(/[^\p{L}\p{N}_]+/gu, "_")
    .replaceAll(/^_+|_+$/g, "")
    .slice(0, 60);
  if (plain === "") return otherwise;
  return /^\p{N}/u.test(plain) || reserved.test(plain) ? `_${plain}` : plain;
}

/** Equal names get numbers; SQL doesn't tell capitals from small letters. */
function distinct(names: readonly string[]): readonly string[] {
  const taken = new Set<string>();
  return names.map((name) => {
    let free = name;
    for (let number = 2; taken.has(free.toLowerCase()); number += 1) free = `${name}_${number}`;
    taken.add(free.toLowerCase());
    return free;
  });
}

function baseName(path: string): string {
  return (path.split(/[/\\]/).at(-1) ?? "").replace(/\.[^.]*$/, "");
}

const lines = (count: number) => (count === 1 ? "1 line is" : `${count} lines are`);
const rows = (count: number) => (count === 1 ? "1 row has" : `${count} rows have`);
