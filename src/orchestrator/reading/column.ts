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

/** Words that stand for an empty cell where all others are numbers or dates. */
const emptyWords = /^(?:n\/?a|n\.\s?a\.|null|none|nil|nan|-+|–|—|\?+)$/i;
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
  const written = filled.map(String).filter((cell) => !emptyWords.test(cell));
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
  const isOpen = point === comma && fraction === undefined && cells.some((cell) => readPoint(cell) !== readComma(cell));
  const usesComma = fraction === undefined ? (isOpen ? isContinental : comma > point) : fraction === ",";
  const shown = cells.find((cell) => /[.,' \u00a0\u202f€$£%]/.test(cell));
  const read = usesComma ? readComma : readPoint;
  const isChanged = shown !== undefined && Number(shown) !== read(shown);
  return {
    isDate: false,
    read,
    ...(isChanged ? { written: shown } : {}),
    ...(isOpen && shown !== undefined ? { doubt: `${shown} is read as ${read(shown)}` } : {}),
  };
}

const sign = String.raw`([-+−]?)\s*(?:[€$£]|EUR|USD|GBP|CHF)?\s*`;
const unit = String.raw`\s*(?:[€$£%]|EUR|USD|GBP|CHF)?`;
const pointed = new RegExp(`^${sign}(\\d+|\\d{1,3}(?:[,'’\u00a0\u202f ]\\d{3})+)?(\\.\\d+)?(e[-+]?\\d+)?${unit}$`, "i");
const commaed = new RegExp(`^${sign}(\\d+|\\d{1,3}(?:[.'’\u00a0\u202f ]\\d{3})+)?(,\\d+)?${unit}$`, "i");

/** `1,234.50`, `$12`, `-3.7`, `1e6` */
function readPoint(cell: string): number | undefined {
  return numberIn(pointed.exec(cell));
}

/** `1.234,50 €`, `55,06` */
function readComma(cell: string): number | undefined {
  return numberIn(commaed.exec(cell));
}

function numberIn(match: RegExpExecArray | null): number | undefined {
  if (match === null) return undefined;
  const [, minus = "", whole = "", fraction = "", exponent = ""] = match;
  if (whole === "" && fraction === "") return undefined;
  const digits = `${whole.replaceAll(/\D/g, "") || "0"}${fraction.replace(",", ".")}${exponent}`;
  const value = Number(digits);
  if (!Number.isFinite(value)) return undefined;
  return minus === "-" || minus === "−" ? -value : value;
}

const time = String.raw`(?:[T ,]+(\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*(Z|[-+]\d{2}:?\d{2})?)?`;
const yearFirst = new RegExp(`^(\\d{4})([-/.])(\\d{1,2})\\2(\\d{1,2})${time}$`);
const yearLast = new RegExp(`^(\\d{1,2})([-/.])(\\d{1,2})\\2(\\d{4})${time}$`);

function dateNotation(cells: readonly string[]): Notation | undefined {
  const isAll = (read: Notation["read"]) =>
    cells.filter((cell) => read(cell) !== undefined).length >= cells.length * leastShare;
  const [shown = ""] = cells;
  if (isAll(readYearFirst)) {
    const other = cells.find((cell) => readYearFirst(cell) !== cell);
    return { isDate: true, read: readYearFirst, ...(other === undefined ? {} : { written: other }) };
  }
  const [dayFirst, monthFirst] = [isAll(readDayFirst), isAll(readMonthFirst)];
  if (!dayFirst && !monthFirst) return undefined;
  // Points are European.
  const isOpen = dayFirst && monthFirst && !shown.includes(".");
  const read = dayFirst ? readDayFirst : readMonthFirst;
  return {
    isDate: true,
    read,
    written: shown,
    ...(isOpen ? { doubt: `${shown} is read as day/month/year` } : {}),
  };
}

function readYearFirst(cell: string): string | undefined {
  // As SQLite reads it.
  if (
    /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[-+]\d{2}:\d{2})?)?$/.test(
      cell,
    )
  )
    return cell;
  const [, year, , month, day, clock, zone] = yearFirst.exec(cell) ?? [];
  return isoDate(year, month, day, clock, zone);
}

function readDayFirst(cell: string): string | undefined {
  const [, day, , month, year, clock, zone] = yearLast.exec(cell) ?? [];
  return isoDate(year, month, day, clock, zone);
}

function readMonthFirst(cell: string): string | undefined {
  const [, month, , day, year, clock, zone] = yearLast.exec(cell) ?? [];
  return isoDate(year, month, day, clock, zone);
}

function isoDate(year?: string, month?: string, day?: string, clock?: string, zone = ""): string | undefined {
  if (year === undefined || month === undefined || day === undefined) return undefined;
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > 31) return undefined;
  const date = `${year}-${month.padStart(2, "0")}-${day.padStart(2, "0")}`;
  if (clock === undefined) return date;
  return `${date} ${/^\d:/.test(clock) ? "0" : ""}${clock.replace(",", ".")}${zone}`;
}

/** Whether a first row is data: it has a date, or a number that is no year. */
export function looksLikeData(cells: readonly string[]): boolean {
  return cells.some((cell) => {
    if (readYearFirst(cell) !== undefined || readDayFirst(cell) !== undefined) return true;
    return readPoint(cell) !== undefined && !/^(?:19|20)\d{2}$/.test(cell);
  });
}
