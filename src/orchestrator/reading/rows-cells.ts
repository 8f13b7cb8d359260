/**
 * Delimited text as the rows of one table: where its header is, and which lines around the rows are none. Rows and log
 * entries: where one begins. Pure.
 */
import { emptyWord, kindOf, numbersOf } from "./column.ts";

interface CellRecord {
  readonly cells: readonly string[];
  /** Where it stands in the text. */
  readonly start: number;
  readonly end: number;
}

/** Enough to tell what a file is like. */
const sampled = 100;
const sampledCharacters = 65_536;
/** Rows of totals by their sums alone are looked for among the last ones. */
const lastRows = 5;

/**
 * Reads all of a text. The header is absent if the rows begin without one; `notes` say which lines are no rows: those above
 * it, those that only say something, and totals.
 */
export function sheetOf(text: string, hasTabs: boolean) {
  const { all, header, firstRow } = layoutOf(text, hasTabs, Number.POSITIVE_INFINITY);
  const found = header === undefined ? undefined : all[header];
  const below = all.slice(firstRow);
  // On each page of a report.
  const isHeader = ({ cells }: CellRecord): boolean =>
    filledIn(cells) > 1 && cells.length === found?.cells.length && cells.every((cell, at) => cell === found.cells[at]);
  const body = below.filter((record) => !isHeader(record));
  const { rows, totals, asides } = rowsIn(body);
  const above = all.slice(0, header ?? firstRow);
  const notes = [
    ...(above.length === 0 ? [] : [`${lines(above.length)} above the ${header === undefined ? "rows" : "header"}`]),
    ...(body.length === below.length ? [] : [`the header again in ${lines(below.length - body.length)}`]),
    ...(totals.length === 0 ? [] : [`${totals.length === 1 ? "a row" : `${totals.length} rows`} of totals`]),
    ...(asides.length === 0 ? [] : [`${lines(asides.length)} with a single cell`]),
  ];
  const [example] = [...totals, ...asides, ...above.map(({ cells }) => cells), found?.cells];
  const said = example?.find((cell) => cell !== "") ?? "";
  return {
    ...(found === undefined ? {} : { header: found }),
    rows,
    notes: notes.length === 0 ? [] : [`left out as no rows: ${notes.join(", ")} (${said.slice(0, 40)})`],
  };
}

/** The header of a text's table; undefined if it has none. */
function headerIn(text: string, hasTabs: boolean): CellRecord | undefined {
  const { all, header } = layoutOf(text, hasTabs, sampledCharacters);
  return header === undefined ? undefined : all[header];
}

/** The records that aren't empty, and where among them the header and the rows are. */
function layoutOf(text: string, hasTabs: boolean, limit: number) {
  // Excel's own line, which names the separator.
  const [said = "", named] = /^\uFEFF?sep=(.)\r?\n/i.exec(text) ?? [];
  const delimiter = named ?? (hasTabs ? "\t" : delimiterOf(text));
  const all = cellsIn(text, delimiter, said.length, limit).filter(({ cells }) => filledIn(cells) > 0);
  const first = all.slice(0, sampled).map(({ cells }) => cells);
  const header = headerAt(first);
  return { all, ...header };
}

/**
 * The header is a full row of names above the first row whose cells have the types of their columns. What stands above it
 * (an account, a date of the export) has fewer cells, or a number or a date where a column has texts.
 */
function headerAt(first: readonly (readonly string[])[]) {
  const width = commonest(first.map(({ length }) => length));
  const isFull = (cells: readonly string[]): boolean => filledIn(cells) >= Math.max(1, Math.ceil(width * 0.6));
  const full = first.filter(isFull);
  // The upper half may have much that is none.
  const lower = full.slice(Math.floor(full.length / 2));
  const columns = Array.from({ length: width }, (_, at) => columnIn(lower, at));
  const typed = columns.some(({ kind }) => kind !== undefined);
  const data = first.findIndex((cells, at) => isFull(cells) && isRow(cells, columns, first[at + 1]));
  if (!typed || data < 0) {
    const header = Math.max(0, first.findIndex(isFull));
    return { header, firstRow: header + 1 };
  }
  const before = Array.from({ length: data }, (_, at) => at)
    .filter((at) => isFull(first[at] ?? []))
    .toSorted((a, b) => Number((first[b] ?? []).length >= width) - Number((first[a] ?? []).length >= width));
  const isName = (cell: string): boolean => kindOf(cell) === undefined;
  const isAllNames = (at: number) => first[at]?.every(isName) === true;
  // The years or days of a header stand above columns of numbers.
  const isAboveNumbers = (at: number) =>
    first[at]?.every((cell, column) => isName(cell) || columns[column]?.kind === "number") === true;
  const header = before.find(isAllNames) ?? before.find(isAboveNumbers);
  if (header !== undefined) return { header, firstRow: header + 1 };
  // A header that lacks most of its names.
  return data === 1 && filledIn(first[0] ?? []) > 1
    ? { header: 0, firstRow: 1 }
    : { header: undefined, firstRow: data };
}

const leastShare = 0.6;
const year = /^(?:19|20)\d{2}$/;

function columnIn(rows: readonly (readonly string[])[], at: number) {
  const cells = rows.map((row) => row[at] ?? "").filter((cell) => cell !== "" && !emptyWord.test(cell));
  const share = (matches: (cell: string) => boolean) => cells.filter(matches).length / Math.max(1, cells.length);
  const kind = (["date", "number"] as const).find((each) => share((cell) => kindOf(cell) === each) >= leastShare);
  return { kind, areYears: share((cell) => year.test(cell)) >= 0.5 };
}

/** Whether a row has cells of its columns' types. `next`: the row below it. */
function isRow(
  cells: readonly string[],
  columns: readonly ReturnType<typeof columnIn>[],
  next: readonly string[] = [],
): boolean {
  let matching = 0;
  for (const [at, { kind, areYears }] of columns.entries()) {
    const cell = cells[at] ?? "";
    if (kind === undefined || cell === "" || emptyWord.test(cell)) continue;
    if (kindOf(cell) !== kind || (kind === "number" && year.test(cell) && !areYears)) return false;
    matching += 1;
  }
  return matching > 0 && !(countsUp(cells) && !countsUp(next));
}

/** 1, 2, 3: the names of columns, if the row below has others. */
function countsUp(cells: readonly string[]): boolean {
  const numbers = cells.filter((cell) => /^\d{1,4}$/.test(cell)).map(Number);
  return numbers.length > 2 && numbers.every((each, at) => at === 0 || each === (numbers[at - 1] ?? 0) + 1);
}

const total =
  /^(?:(?:grand|sub|net)[ -]?)?(?:totals?|totale?s?|sum|summen?|gesamt\p{L}*|insgesamt|zwischensumme|suma|somme|somma|合计|总计|總計|小计|итого|razem)(?!\p{L}{2})|^.{1,40} (?:totals?|gesamt|summe|somme|итого)$/iu;

/** The rows below the header, without rows of totals and without lines that only say something. */
function rowsIn(below: readonly CellRecord[]) {
  const all = below.map(({ cells }) => cells);
  const first = all.slice(0, sampled);
  const width = commonest(first.map(({ length }) => length));
  const columns = Array.from({ length: width }, (_, at) => columnIn(first, at));
  const counts = first.map(filledIn).toSorted((a, b) => a - b);
  const usual = counts[Math.floor(counts.length / 2)] ?? 0;
  const [rows, totals, asides]: (readonly string[])[][] = [[], [], []];
  for (const [at, cells] of all.entries()) {
    const filled = filledIn(cells);
    const [isShort, isLast] = [filled < usual, at >= all.length - lastRows];
    if ((isShort || isLast) && isTotals(cells, rows ?? [], columns, isShort, isLast)) totals?.push(cells);
    else if (filled === 1 && usual > 2 && (cells.length === 1 || !fits(cells, columns))) asides?.push(cells);
    else rows?.push(cells);
  }
  return { rows: rows ?? [], totals: totals ?? [], asides: asides ?? [] };
}

/** A row that says "total", or that has the sums of the columns above it, where other rows have more cells. */
function isTotals(
  cells: readonly string[],
  above: readonly (readonly string[])[],
  columns: readonly ReturnType<typeof columnIn>[],
  isShort: boolean,
  isLast: boolean,
): boolean {
  const word = cells.findIndex((cell) => total.test(cell) && cell.length < 40);
  // A payee may have that name; a row of totals begins with it.
  const isSaid = word === 0 || (word > 0 && cells.slice(0, word).every((cell) => cell === ""));
  if (isSaid && isShort) return true;
  // What has a text of its own and is the sum by chance is a row.
  const isBare = isShort && columns.every(({ kind }, at) => kind !== undefined || (cells[at] ?? "") === "");
  return isLast && (isSaid || isBare) && above.length > 2 && hasSums(cells, above, columns);
}

function hasSums(
  cells: readonly string[],
  above: readonly (readonly string[])[],
  columns: readonly ReturnType<typeof columnIn>[],
): boolean {
  return columns.some(({ kind }, at) => {
    const cell = cells[at] ?? "";
    if (kind !== "number" || cell === "") return false;
    return numbersOf([cell, ...above.map((row) => row[at] ?? "")]).some(([said = 0, ...values]) => {
      const sum = values.reduce((all, value) => all + value, 0);
      return said !== 0 && Math.abs(sum - said) < 0.006;
    });
  });
}

function fits(cells: readonly string[], columns: readonly ReturnType<typeof columnIn>[]): boolean {
  return columns.every(({ kind }, at) => {
    const cell = cells[at] ?? "";
    return kind === undefined || cell === "" || emptyWord.test(cell) || kindOf(cell) === kind;
  });
}

function filledIn(cells: readonly string[]): number {
  return cells.filter((cell) => cell !== "").length;
}

/** The number that most have; the larger of two. */
function commonest(numbers: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const each of numbers) counts.set(each, (counts.get(each) ?? 0) + 1);
  const [[number] = [0]] = [...counts].toSorted(([a, many], [b, others]) => others - many || b - a);
  return number;
}

/** The separator by which most rows have the same number of cells, the more of them the better. */
function delimiterOf(text: string): string {
  const start = text.slice(0, sampledCharacters);
  const score = (delimiter: string): number => {
    const all = cellsIn(start, delimiter, 0, start.length).filter(({ cells }) => filledIn(cells) > 0);
    // The last one may be cut off.
    const kept = all.length > 1 && start.length < text.length ? all.slice(0, -1) : all;
    const widths = kept.slice(0, sampled).map(({ cells }) => cells.length);
    const width = commonest(widths.filter((each) => each > 1));
    const even = widths.filter((each) => each === width).length / Math.max(1, widths.length);
    return width < 2 ? 0 : even * 100 + Math.min(width, 50);
  };
  const scored = [",", ";", "\t", "|"].map((delimiter) => ({ delimiter, score: score(delimiter) }));
  return scored.reduce((best, each) => (each.score > best.score ? each : best)).delimiter;
}

/** The cells of delimited text (RFC 4180): a quoted one may hold the separator, line breaks, and quotes written twice. */
function cellsIn(text: string, delimiter: string, from: number, limit: number): readonly CellRecord[] {
  const records: CellRecord[] = [];
  let cells: string[] = [];
  let start = from;
  for (let at = from; at <= text.length && start < limit;) {
    let cell: string;
    [cell, at] = text[at] === '"' ? quotedCell(text, at, delimiter) : plainCell(text, at, delimiter);
    cells.push(cell);
    if (text[at] === delimiter) {
      at += 1;
      continue;
    }
    at += text[at] === "\r" && text[at + 1] === "\n" ? 2 : 1;
    records.push({ cells, start, end: Math.min(at, text.length) });
    [cells, start] = [[], at];
    // After the last line break nothing begins.
    if (at === text.length) break;
  }
  return records;
}

function plainCell(text: string, from: number, delimiter: string): [cell: string, end: number] {
  let at = from;
  while (at < text.length && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at += 1;
  return [text.slice(from, at).trim(), at];
}

function quotedCell(text: string, from: number, delimiter: string): [cell: string, end: number] {
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

const lines = (count: number) => (count === 1 ? "1 line" : `${count} lines`);

const tableFile = /\.(?:csv|tsv|tab|psv)$/i;
const logFile = /\.(?:log|out|err)(?:\.\d+)?$/i;

/** A time, a level, an address or a bracket: how entries of logs begin. */
const entryStart =
  /^(?:[[(<"]?(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d?[-/.](?:\d\d?|[A-Z][a-z]{2})[-/. ]\d{2,4}|\d\d:\d\d:\d\d|\d{10,16}\b|[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:)|[[(<"]?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|SEVERE)\b|[IWEF]\d{4} |\d{1,3}(?:\.\d{1,3}){3} |\{")/i;
/** Lines that tell what a text without a known name is, and the share of them that has to begin an entry. */
const sampledLines = 40;
const leastEntries = 0.5;
/** In a file that is named a log: entries of a format that is not known have none. */
const leastOfLog = 0.1;

/**
 * Follows a text line by line, in order. `header`: that of the table which a passage begins in; one that takes too much room
 * (`isBearable`) is left out.
 */
export function recordsOf(
  { path, text, firstLine, header }: { path: string; text: string; firstLine: number; header?: string | undefined },
  isBearable: (header: string) => boolean,
): (
  start: number,
  head: string,
  end: number,
) => { readonly header?: string | undefined; readonly isContinued: boolean } {
  const continued = continuationsIn(path, text);
  const found = firstLine === 1 && tableFile.test(path) ? headerIn(text, /\.(?:tsv|tab)$/i.test(path)) : undefined;
  const whole = found === undefined || found.cells.length < 2 ? undefined : text.slice(found.start, found.end);
  const afterHeader = whole === undefined ? 0 : (found?.end ?? 0);
  const isMarkdown = !tableFile.test(path);
  let current = header;
  let previous = "";
  let isFirstRow = false;
  if (whole !== undefined && isBearable(whole)) current = whole;
  return (start, head, end) => {
    // The header itself has none, nor has what stands above it.
    if (start < afterHeader) return { isContinued: start > 0 };
    if (!isMarkdown) return { header: current, isContinued: continued.has(start) };
    const line = { header: current, isContinued: continued.has(start) || isFirstRow };
    isFirstRow = isBelowHeader(head, previous);
    if (isFirstRow) {
      const above = text.slice(text.lastIndexOf("\n", start - 2) + 1, end);
      current = isBearable(above) ? above : undefined;
      previous = head;
      return { isContinued: true };
    }
    previous = head;
    if (head.includes("|")) return line;
    current = undefined;
    return { isContinued: continued.has(start) };
  };
}

/** Where lines begin that continue a record: in a quoted cell, or below the first line of a log's entry. */
function continuationsIn(path: string, text: string): ReadonlySet<number> {
  if (tableFile.test(path)) return quotedLines(text);
  const least = logFile.test(path) ? leastOfLog : leastEntries;
  const sample = text.slice(0, sampledLines * 400).split("\n", sampledLines);
  const starts = sample.filter((line) => line.trim() !== "" && !/^\s/.test(line));
  if (starts.filter((line) => entryStart.test(line)).length < Math.max(2, starts.length * least)) return new Set();
  return linesOf(text, (start) => !entryStart.test(text.slice(start, start + 60)));
}

/** The starts of lines, the first excepted, that are `wanted`. */
function linesOf(text: string, wanted: (start: number, end: number) => boolean): ReadonlySet<number> {
  const found = new Set<number>();
  for (let start = text.indexOf("\n") + 1; start > 0 && start < text.length;) {
    const newline = text.indexOf("\n", start);
    if (wanted(start, newline)) found.add(start);
    start = newline + 1;
  }
  return found;
}

/** Lines of a table that begin in a quoted cell. A quotation mark that is never closed makes no record of the rest. */
function quotedLines(text: string): ReadonlySet<number> {
  let isOpen = false;
  let checked = 0;
  const inside = linesOf(text, (start) => {
    for (let at = text.indexOf('"', checked); at !== -1 && at < start; at = text.indexOf('"', at + 1)) isOpen = !isOpen;
    checked = start;
    return isOpen;
  });
  const rest = text.slice(checked).split('"').length - 1;
  return isOpen === (rest % 2 === 1) ? inside : new Set();
}

/** Whether a line is that below the header row of a Markdown table: `|---|---:|`. */
function isBelowHeader(line: string, previous: string): boolean {
  return line.includes("|") && previous.includes("|") && /^[\s:|-]*--[\s:|-]*$/.test(line);
}
