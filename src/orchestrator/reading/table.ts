import { isRecord, jsonIn, getOrInsert } from "../util/values.ts";
import { type Column, type Value, columnOf, currencyOf } from "./column.ts";
import { sheetOf } from "./rows-cells.ts";

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

/**
 * Reads files of rows: comma, semicolon or tab separated values, JSON lines, or a list in JSON. Throws an `Error` for any
 * other text.
 */
export function tablesOf(files: readonly { readonly path: string; readonly text: string }[]): readonly Table[] {
  const names = distinct(files.map(({ path }) => identifier(baseName(path), "t")));
  return files.map(({ path, text }, at) => tableOf(names[at] ?? "t", path, text.replace(/^\uFEFF/, "")));
}

function tableOf(name: string, path: string, text: string): Table {
  const [ending = ""] = /[^.]*$/.exec(path.toLowerCase()) ?? [];
  const { header, records, notes } =
    ending === "json"
      ? recordsOfList(text)
      : /^(?:jsonl|ndjson)$/.test(ending)
        ? recordsOfLines(text)
        : recordsOfCells(text, /^(?:tsv|tab)$/.test(ending));
  // A separator at the end of each line makes no column.
  const kept = [...header.keys()].filter((at) => header[at] !== "" || records.some((record) => !isEmpty(record[at])));
  if (kept.length === 0 || records.length === 0) throw new Error(`${path} has no rows`);
  if (kept.length > maxColumns) throw new Error(`${path} has ${kept.length} columns, ${maxColumns} can be queried`);
  const names = distinct(kept.map((at) => identifier(header[at] ?? "", `column_${at + 1}`)));
  const cellsOf = (at: number) => records.map((record) => record[at]);
  const usesComma = kept.some((at) =>
    cellsOf(at).some((cell) => typeof cell === "string" && /^-?\d+,\d{1,2}$/.test(cell.trim())),
  );
  const isContinental = usesComma || /^[^\n]*;/.test(text);
  const columns = kept.map((at, place) => columnOf(names[place] ?? "", header[at] ?? "", cellsOf(at), isContinental));
  const all = [...columns, ...kept.flatMap((at, place) => currenciesIn(`${names[place]}_currency`, cellsOf(at)))];
  return {
    name,
    columns: all.map(({ column }) => column),
    rows: records.map((_, row) => all.map(({ values }) => values[row] ?? null)),
    notes: [...notes, ...columns.flatMap(({ notes: own }) => own)].map((note) => `${path}: ${note}`),
  };
}

const isEmpty = (cell: unknown): boolean => cell === undefined || cell === null || cell === "";

/** The currencies of amounts, as a column of their own where they differ. */
function currenciesIn(name: string, cells: readonly unknown[]) {
  const found = cells.map((cell) =>
    typeof cell === "string" && /\d/.test(cell) && cell.length < 24 ? (currencyOf(cell) ?? null) : null,
  );
  if (new Set(found.filter((each) => each !== null)).size < 2) return [];
  return [{ column: { name, title: "", type: "TEXT" as const }, values: found, notes: [] }];
}

function recordsOfCells(text: string, hasTabs: boolean) {
  const { header, rows, notes } = sheetOf(text, hasTabs);
  const width = header?.cells.length ?? Math.max(0, ...rows.slice(0, 100).map(({ length }) => length));
  let [longer, shorter] = [0, 0];
  for (const cells of rows) {
    if (cells.length < width) shorter += 1;
    else if (cells.length > width && cells.some((cell, at) => at >= width && cell !== "")) longer += 1;
  }
  const have = (count: number) => (count === 1 ? "1 row has" : `${count} rows have`);
  return {
    header: header?.cells ?? Array.from({ length: width }, () => ""),
    records: rows,
    notes: [
      ...(header === undefined ? ["the first line holds data, so the columns have numbers for names"] : []),
      ...notes,
      ...(longer === 0 ? [] : [`${have(longer)} more cells than the header: the last ones are left out`]),
      ...(shorter === 0 ? [] : [`${have(shorter)} fewer cells than the header: the last ones are empty`]),
    ],
  };
}

/** JSON: an object a line. */
function recordsOfLines(text: string) {
  const objects: object[] = [];
  let broken = 0;
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const object = parsed(line);
    if (isRecord(object)) objects.push(object);
    else broken += 1;
  }
  if (broken > objects.length) throw new Error("most lines are no JSON objects");
  const said = broken === 1 ? "1 line is" : `${broken} lines are`;
  return recordsOfObjects(objects, broken === 0 ? [] : [`${said} no JSON object and left out`]);
}

/** JSON: a list of objects, alone or as the only list in an object. */
function recordsOfList(text: string) {
  const value = parsed(text);
  const lists = Array.isArray(value) ? [value] : isRecord(value) ? Object.values(value).filter(Array.isArray) : [];
  const [list = []] = lists as readonly (readonly unknown[])[];
  if (lists.length !== 1 || list.length === 0 || !list.every(isRecord)) throw new Error("it is no list of objects");
  return recordsOfObjects(list, []);
}

/** The keys of all objects are the columns, those of objects inside, too. Lists are kept as JSON. */
function recordsOfObjects(objects: readonly object[], notes: readonly string[]) {
  for (const depth of [3, 0]) {
    const keys = new Map<string, number>();
    const records: unknown[][] = [];
    for (const object of objects) {
      const record: unknown[] = [];
      for (const [key, value] of entriesOf(object, depth)) {
        const at = getOrInsert(keys, key, () => keys.size);
        record[at] = typeof value === "object" && value !== null ? JSON.stringify(value) : value;
      }
      records.push(record);
    }
    if (keys.size <= maxColumns || depth === 0) return { header: [...keys.keys()], records, notes };
  }
  throw new Error("no rows");
}

function entriesOf(object: object, depth: number): readonly (readonly [string, unknown])[] {
  return Object.entries(object).flatMap(([key, value]): readonly (readonly [string, unknown])[] =>
    depth > 0 && isRecord(value)
      ? entriesOf(value, depth - 1).map(([inner, each]) => [`${key}.${inner}`, each] as const)
      : [[key, value]],
  );
}

/** Strings, and whole numbers that are too long for a number. */
const longNumbers = /"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;

/** Identifiers of 64 bits stay as they are, as text. */
function parsed(json: string): unknown {
  const isSafe = (digits: string) => digits.startsWith('"') || Number.isSafeInteger(Number(digits));
  const exact = /\d{16}/.test(json)
    ? json.replaceAll(longNumbers, (found) => (isSafe(found) ? found : `"${found}"`))
    : json;
  return jsonIn(exact);
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
