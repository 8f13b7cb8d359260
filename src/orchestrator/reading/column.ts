import { fold } from "../recall/text-index.ts";

/** What a cell holds in the database: numbers and dates in one notation each, so that they can be computed with. */
export type Value = string | number | null;

export interface Column {
  /** As in SQL. */
  readonly name: string;
  /** As in the file. */
  readonly title: string;
  readonly type: "INTEGER" | "REAL" | "TEXT" | "DATE" | "BOOLEAN";
  /** How the file writes its values, where that is not how the database does. */
  readonly written?: string;
}

interface ReadColumn {
  readonly column: Column;
  readonly values: readonly Value[];
  readonly notes: readonly string[];
}

/** What stands for an empty cell where all others are numbers or dates. */
export const emptyWord = /^(?:n\/?a|n\.\s?a\.|null|none|nil|nan|-+|–|—|\?+)$/i;
/** A column of numbers may have a few cells that are none. */
const leastShare = 0.95;

/**
 * The type of a column by all of its cells, and the values. `isContinental`: a comma is taken for the decimal sign where
 * the column itself doesn't show it.
 */
export function columnOf(name: string, title: string, cells: readonly unknown[], isContinental: boolean): ReadColumn {
  const texts = cells.map((cell) => (typeof cell === "string" && cell.trim() !== "" ? cell.trim() : cell));
  const isEmpty = (cell: unknown): boolean => cell === undefined || cell === null || cell === "";
  const filled = texts.filter((cell) => !isEmpty(cell));
  const plain = (type: Column["type"], values: readonly Value[]): ReadColumn => ({
    column: { name, title, type },
    values,
    notes: [],
  });
  if (filled.length > 0 && filled.every((cell) => typeof cell === "boolean")) {
    return plain(
      "BOOLEAN",
      texts.map((cell) => (isEmpty(cell) ? null : Number(cell))),
    );
  }
  if (filled.length > 0 && filled.every((cell) => typeof cell === "number")) {
    const type = filled.every((cell) => Number.isSafeInteger(cell)) ? "INTEGER" : "REAL";
    return plain(
      type,
      texts.map((cell) => (typeof cell === "number" ? cell : null)),
    );
  }
  const written = filled.map(String).filter((cell) => !emptyWord.test(cell));
  const found = notationOf(written, isContinental);
  if (found === undefined)
    return plain(
      "TEXT",
      texts.map((cell) => (isEmpty(cell) ? null : String(cell))),
    );
  const values = texts.map((cell) => (isEmpty(cell) ? null : (found.read(String(cell)) ?? null)));
  const lost = written.length - written.filter((cell) => found.read(cell) !== undefined).length;
  const kind = found.isDate ? "date" : "number";
  const isWhole = values.every((value) => value === null || Number.isSafeInteger(value));
  return {
    column: {
      name,
      title,
      type: found.isDate ? "DATE" : isWhole ? "INTEGER" : "REAL",
      ...(found.written === undefined ? {} : { written: found.written }),
    },
    values,
    notes: [
      ...(lost === 0 ? [] : [`${lost} of ${written.length} cells of ${title} hold no ${kind} and count as empty`]),
      ...(found.doubt === undefined ? [] : [`${title}: ${found.doubt}`]),
    ],
  };
}

/** How the values of a column are written. */
interface Notation {
  readonly isDate: boolean;
  /** Shown to the model if the database has them otherwise. */
  readonly written?: string;
  /** What else they may mean. */
  readonly doubt?: string;
  read(cell: string): Value | undefined;
}

/** Undefined for text. */
function notationOf(cells: readonly string[], isContinental: boolean): Notation | undefined {
  if (cells.length === 0) return undefined;
  // Postcodes, telephone numbers and long identifiers aren't computed with.
  if (cells.some((cell) => /^0\d/.test(cell) || /\d{16}/.test(cell))) return dateNotation(cells);
  const share = (read: Notation["read"]) => cells.filter((cell) => read(cell) !== undefined).length / cells.length;
  const [point, comma] = [share(readPoint), share(readComma)];
  if (Math.max(point, comma) < leastShare) return dateNotation(cells);
  // No group of thousands begins with a lone zero: `0.125` is a fraction wherever it stands.
  const fraction =
    point === comma ? cells.flatMap((cell) => /^[-+−]?0([.,])\d{3}$/.exec(cell)?.[1] ?? [])[0] : undefined;
  const open = cells.find((cell) => readPoint(cell) !== readComma(cell)) ?? "";
  const isOpen = point === comma && fraction === undefined && open !== "";
  const usesComma = fraction === undefined ? (isOpen ? isContinental : comma > point) : fraction === ",";
  const shown = cells.find((cell) => /[.,' \u00a0\u202f€$£%]/.test(cell));
  const read = usesComma ? readComma : readPoint;
  const isChanged = shown !== undefined && Number(shown) !== read(shown);
  return {
    isDate: false,
    read,
    ...(isChanged ? { written: shown } : {}),
    ...(isOpen ? { doubt: `${open} is read as ${read(open)}` } : {}),
  };
}

const currencies =
  "EUR|USD|GBP|CHF|JPY|CNY|RMB|SEK|NOK|DKK|PLN|CZK|HUF|RON|BRL|MXN|ARS|INR|KRW|AUD|CAD|NZD|TRY|ZAR|RUB";
const unit = String.raw`(?:[€$£¥￥₹₽₺₩%元円]|R\$|zł|kr\.?|${currencies})`;
const before = String.raw`(\()?\s*([-+−]?)\s*${unit}?\s*([-+−]?)\s*(\()?\s*`;
const behind = String.raw`\s*(?:${unit})?\s*([-−]?|\))\s*${unit}?`;
const pointed = new RegExp(
  `^${before}(\\d+|\\d{1,3}(?:[,'’\u00a0\u202f ]\\d{3})+)?(\\.\\d+)?(e[-+]?\\d+)?${behind}$`,
  "iu",
);
const commaed = new RegExp(`^${before}(\\d+|\\d{1,3}(?:[.'’\u00a0\u202f ]\\d{3})+)?(,\\d+)?()${behind}$`, "iu");
const currency = new RegExp(`[€$£¥￥₹₽₺₩]|R\\$|zł|(?<![a-z])(?:${currencies})(?![a-z])`, "iu");

/** The currency that a cell names, alone or beside a number. */
export function currencyOf(cell: string): string | undefined {
  return currency.exec(cell)?.[0].toUpperCase();
}

/** `1,234.50`, `$12`, `-3.7`, `(5.00)`, `5.00-`, `1e6` */
function readPoint(cell: string): number | undefined {
  return numberIn(pointed.exec(cell));
}

/** `1.234,50 €`, `55,06` */
function readComma(cell: string): number | undefined {
  return numberIn(commaed.exec(cell));
}

function numberIn(match: RegExpExecArray | null): number | undefined {
  if (match === null) return undefined;
  const [, outer = "", first = "", second = "", inner = "", whole = "", fraction = "", exponent = "", last = ""] =
    match;
  if (whole === "" && fraction === "") return undefined;
  const isOpen = outer !== "" || inner !== "";
  const signs = [first, second, last === ")" ? "" : last].filter((sign) => sign !== "");
  if (isOpen !== (last === ")") || signs.length + Number(isOpen) > 1) return undefined;
  const digits = `${whole.replaceAll(/\D/g, "") || "0"}${fraction.replace(",", ".")}${exponent}`;
  const value = Number(digits);
  if (!Number.isFinite(value)) return undefined;
  return isOpen || signs.some((sign) => sign !== "+") ? -value : value;
}

/** Cells as numbers in each notation that the first one has; others count as 0. */
export function numbersOf(cells: readonly string[]): readonly (readonly number[])[] {
  return [readPoint, readComma]
    .filter((read) => read(cells[0] ?? "") !== undefined)
    .map((read) => cells.map((cell) => read(cell) ?? 0));
}

/** What a cell looks like by itself. */
export function kindOf(cell: string): "number" | "date" | undefined {
  // Most cells have no digit.
  if (!/\d/.test(cell)) return undefined;
  if (readPoint(cell) !== undefined || readComma(cell) !== undefined) return "number";
  return dateReaders.some(({ read }) => read(cell) !== undefined) ? "date" : undefined;
}

const zone = String.raw`(?:Z|(?:GMT|UTC)?\s*[-+]\d{1,2}(?::?\d{2})?|GMT|UTC|CES?T|MES?Z|[ECMP][SD]T)`;
const time = String.raw`(?:[T ,]+(?:um |at )?(\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*([ap]\.?m\.?)?\s*(${zone})?)?`;
const yearFirst = new RegExp(`^(\\d{4})([-/.])(\\d{1,2})\\2(\\d{1,2})${time}$`, "i");
const yearLast = new RegExp(`^(\\d{1,2})([-/.])(\\d{1,2})\\2(\\d{4}|\\d{2})${time}$`, "i");
const chinese = new RegExp(`^(\\d{4})\\s*[年년]\\s*(\\d{1,2})\\s*[月월]\\s*(\\d{1,2})\\s*[日일]${time}$`, "i");
const dayName = String.raw`(?:\p{L}{2,9}\.?,?\s+)?`;
const dayAndName = new RegExp(
  `^${dayName}(\\d{1,2})(?:\\.|st|nd|rd|th)?[ -]*(?:de )?(\\p{L}{3,10})\\.?[ ,-]*(?:de )?(\\d{4}|\\d{2})${time}$`,
  "iu",
);
const nameAndDay = new RegExp(`^${dayName}(\\p{L}{3,10})\\.? (\\d{1,2})(?:st|nd|rd|th)?,? (\\d{4})${time}$`, "iu");

/** In the order in which they are tried; the day comes before the month. `isOpen`: either may be meant. */
const dateReaders: readonly (Pick<Notation, "read"> & { readonly isOpen?: boolean })[] = [
  { read: readYearFirst },
  { read: (cell) => isoDate(yearLast.exec(cell), [4, 3, 1, 5]), isOpen: true },
  { read: (cell) => isoDate(yearLast.exec(cell), [4, 1, 3, 5]), isOpen: true },
  { read: (cell) => isoDate(dayAndName.exec(cell), [3, 2, 1, 4]) },
  { read: (cell) => isoDate(nameAndDay.exec(cell), [3, 1, 2, 4]) },
  { read: (cell) => isoDate(chinese.exec(cell), [1, 2, 3, 4]) },
];

function dateNotation(cells: readonly string[]): Notation | undefined {
  const all = dateReaders.filter(
    ({ read }) => cells.filter((cell) => read(cell) !== undefined).length >= cells.length * leastShare,
  );
  const [reader, other] = all;
  const [shown = ""] = cells;
  if (reader === undefined) return undefined;
  const { read } = reader;
  const changed = cells.find((cell) => read(cell) !== cell);
  const offsets = new Set(cells.map((cell) => /[-+]\d{2}:?\d{2}$/.exec(cell)?.[0]));
  // Points are European.
  const isOpen = reader.isOpen === true && other !== undefined && !shown.includes(".");
  const doubts = [
    ...(isOpen ? [`${shown} is read as day/month/year`] : []),
    ...(offsets.size > 1 ? ["times are taken as written, with different offsets from UTC"] : []),
  ];
  return {
    isDate: true,
    read,
    ...(changed === undefined ? {} : { written: changed }),
    ...(doubts.length === 0 ? {} : { doubt: doubts.join("; ") }),
  };
}

let names: readonly (readonly string[])[] | undefined;

/** By month, in English, German, French, Spanish and Italian; folded. */
export function monthNames(): readonly (readonly string[])[] {
  names ??= Array.from({ length: 12 }, (_, month) =>
    ["en", "de", "fr", "es", "it"].map((language) =>
      fold(new Date(2_025, month, 15).toLocaleDateString(language, { month: "long" })),
    ),
  );
  return names;
}

/** The number of a month by its name, or how that begins. */
function monthOf(name: string): number | undefined {
  const at = monthNames().findIndex((all) => all.some((each) => each.startsWith(fold(name))));
  return at < 0 ? undefined : at + 1;
}

function readYearFirst(cell: string): string | undefined {
  // As SQLite reads it.
  if (/^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?Z?)?$/.test(cell))
    return cell;
  return isoDate(yearFirst.exec(cell), [1, 3, 4, 5]);
}

/**
 * A date as SQLite reads it, from the groups of a match that have year, month, day and clock. An offset from UTC is left
 * out: SQLite would count the time to another day.
 */
function isoDate(match: RegExpExecArray | null, [y, m, d, at]: readonly [number, number, number, number]) {
  const [year, named, day, clock] = [match?.[y], match?.[m], match?.[d], match?.[at]];
  if (year === undefined || named === undefined || day === undefined) return undefined;
  const month = /\d/.test(named) ? Number(named) : monthOf(named);
  if (month === undefined || month < 1 || month > 12 || Number(day) < 1 || Number(day) > 31) return undefined;
  // `1.10.12` is a version.
  if (year.length === 2 && !/\/|\p{L}|^\d\d\D\d\d\D/u.test(match?.[0] ?? "")) return undefined;
  // As spreadsheets take years of two digits.
  const full = year.length === 4 ? year : `${Number(year) < 50 ? 20 : 19}${year}`;
  const date = `${full}-${`${month}`.padStart(2, "0")}-${day.padStart(2, "0")}`;
  if (clock === undefined) return date;
  const [hours = "", ...rest] = clock.replace(",", ".").split(":");
  const half = match?.[at + 1]?.[0]?.toLowerCase();
  const hour = half === undefined ? Number(hours) : (Number(hours) % 12) + (half === "p" ? 12 : 0);
  return `${date} ${[`${hour}`.padStart(2, "0"), ...rest].join(":")}`;
}
