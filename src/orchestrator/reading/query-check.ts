/**
 * What a query may not do, and what it does that its question didn't say, as far as that shows without understanding
 * either. Pure.
 */
import { fold } from "../recall/text-index.ts";
import { type Column, type Value, currencyOf, monthNames } from "./column.ts";
import type { Table } from "./table.ts";
import questionWords from "./question-words.json" with { type: "json" };

const name = String.raw`([\p{L}_][\p{L}\p{N}_$]*|"[^"]+")`;
const text = String.raw`('(?:[^']|'')*')`;
const day = String.raw`'\d{4}-\d{2}-\d{2}'`;
const outside = String.raw`(?<![\p{L}\p{N}_.$])`;

/** A piece of SQL: strings and comments are one piece each. */
const piece =
  /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|[\p{L}_][\p{L}\p{N}_$]*|[\d.]+|\s+|[<>!=|]{2}|./gsu;

/**
 * The query as it may be run: one SELECT that divides as in arithmetic (3 / 2 is 1.5). `known` are the names of tables and
 * columns. Throws an `Error` that says what to change.
 */
export function checkedQuery(sql: string, known: readonly string[]): string {
  const pieces = (sql.match(piece) ?? []).filter((each) => !/^(?:--|\/\*)/.test(each));
  const end = pieces.indexOf(";");
  if (end >= 0 && pieces.slice(end).some((each) => !/^[;\s]*$/.test(each))) throw new Error("write one statement only");
  const kept = end < 0 ? pieces : pieces.slice(0, end);
  const words = kept.filter((each) => each.trim() !== "");
  if (!/^(?:select|with)$/i.test(words[0] ?? "")) throw new Error("only SELECT is allowed");
  const other = words.find((word) => /^(?:attach|detach|pragma\w*|load_extension|sqlite_\w+)$/i.test(word));
  if (other !== undefined) throw new Error(`${other} is not allowed: only SELECT from the tables is`);
  const all = new Set([...known, ...aliasesIn(words)].map((each) => each.toLowerCase()));
  const unknown = words.find((word, at) => {
    const quoted = /^"(.*)"$/s.exec(word)?.[1]?.toLowerCase();
    return quoted !== undefined && !all.has(quoted) && !isText(words, at);
  });
  if (unknown !== undefined) throw new Error(`no such column: ${unknown}`);
  return kept
    .map((each) => (each === "/" ? "* 1.0 /" : each.trim() === "" ? " " : each))
    .join("")
    .trim();
}

/**
 * Whether a word in double quotes is compared with something. SQLite takes every unknown name in double quotes for a text:
 * a misspelt column would be one, too.
 */
function isText(words: readonly string[], at: number): boolean {
  const before = words[at - 1] ?? "";
  if (/^(?:=|==|<>|!=|<|>|<=|>=|like|glob|between|and|then|else|\|\|)$/i.test(before)) return true;
  if (before === "(") return /^in$/i.test(words[at - 2] ?? "");
  return before === "," && /^["']/.test(words[at - 2] ?? "");
}

/** Names that a query gives its own columns and tables. */
function aliasesIn(words: readonly string[]): readonly string[] {
  return words.flatMap((word, at) => (/^as$/i.test(words[at - 1] ?? "") ? [word.replaceAll(/^"|"$/g, "")] : []));
}

/** Columns of a name: several tables may have one. */
type Named = (name: string) => readonly (Column & { readonly values: readonly Value[] })[];

export function namedIn(tables: readonly Table[]): Named {
  return (written) => {
    const wanted = written.replaceAll('"', "").toLowerCase();
    return tables.flatMap(({ columns, rows }) =>
      columns.flatMap((column, at) =>
        column.name.toLowerCase() === wanted
          ? [
              {
                ...column,
                get values() {
                  return rows.map((row) => row[at] ?? null);
                },
              },
            ]
          : [],
      ),
    );
  };
}

/** A time of a day is compared with a day as that day: `2025-03-31 10:00` is not after `2025-03-31`. */
export function withDays(sql: string, named: Named): string {
  const isTime = (column: string) =>
    named(column).some(({ type, values }) => type === "DATE" && values.some((value) => `${value ?? ""}`.length > 10));
  return sql
    .replaceAll(
      new RegExp(`${outside}((?:\\p{L}\\w*\\.)?${name})(\\s*(?:<=|>=|==|=|<>|!=|<|>)\\s*)(${day})`, "giu"),
      (all: string, column: string, last: string, operator: string, date: string) =>
        isTime(last) ? `date(${column})${operator}${date}` : all,
    )
    .replaceAll(
      new RegExp(`${outside}((?:\\p{L}\\w*\\.)?${name})(\\s+(?:not\\s+)?between\\s+${day}\\s+and\\s+${day})`, "giu"),
      (all: string, column: string, last: string, rest: string) => (isTime(last) ? `date(${column})${rest}` : all),
    );
}

/** The only table under its own name: models call it after its rows. */
export function withTable(sql: string, tables: readonly Table[]): string {
  const [table, second] = tables;
  const read = [...sql.matchAll(new RegExp(`\\b(?:from|join)\\s+${name}(?!\\s*\\()`, "giu"))].map(
    ([, each = ""]) => each,
  );
  const own = [...sql.matchAll(new RegExp(`${name}(?:\\s*\\([^()]*\\))?\\s+as\\s*\\(`, "giu"))].map(([, each = ""]) =>
    each.toLowerCase(),
  );
  const unknown = new Set(read.filter((each) => !own.includes(each.toLowerCase())));
  const [made] = unknown;
  if (table === undefined || second !== undefined || made === undefined || unknown.size > 1) return sql;
  if (made.replaceAll('"', "").toLowerCase() === table.name.toLowerCase()) return sql;
  return sql.replaceAll(
    new RegExp(`(\\b(?:from|join)\\s+)${escaped(made)}(?![\\p{L}\\p{N}_])|${outside}${escaped(made)}(?=\\.)`, "giu"),
    (_, before: string | undefined) => `${before ?? ""}${table.name}`,
  );
}

/** What SQLite runs without an error, and answers wrong. */
export function typeProblem(sql: string, named: Named): string | undefined {
  const typeOf = (column: string) => named(column)[0]?.type;
  for (const [, call = "", column = ""] of sql.matchAll(
    new RegExp(`\\b(sum|avg|total)\\s*\\(\\s*(?:\\p{L}\\w*\\.)?${name}\\s*\\)`, "giu"),
  )) {
    const type = typeOf(column);
    if (type === "TEXT" || type === "DATE")
      return `${column} is text: ${call} needs numbers, such as ${call}(${column} = 'value')`;
  }
  for (const [, column = "", number = ""] of sql.matchAll(
    new RegExp(`${name}\\s*[<>]=?\\s*(-?\\d+(?:\\.\\d+)?)(?![\\d'-])`, "gu"),
  ))
    if (typeOf(column) === "TEXT") return `${column} is text and can't be compared with ${number}`;
  for (const [, a = "", b = ""] of sql.matchAll(new RegExp(`${name}\\s*-\\s*(?:\\p{L}\\w*\\.)?${name}`, "gu")))
    if (typeOf(a) === "DATE" && typeOf(b) === "DATE")
      return `${a} and ${b} are text: julianday(${a}) - julianday(${b}) are days`;
  const part = /strftime\s*\(\s*'(%[a-z])'[^()]*\)\s*(?:=|==|<>|!=|<=?|>=?)\s*('?)(\d+)\2(?!\d)/iu.exec(sql);
  const [, format = "", quote = "", number = ""] = part ?? [];
  const digits = format === "%Y" ? 4 : /%[mdH]/.test(format) ? 2 : number.length;
  if (part !== null && (quote === "" || number.length < digits))
    return `strftime('${format}') is text of ${digits} digits: compare it with '${number.padStart(digits, "0")}'`;
  return undefined;
}

/** Texts that a query compares columns with, and that no row has. `has` runs the comparison. */
export function missingValues(
  sql: string,
  named: Named,
  has: (column: string, operator: string, literal: string) => boolean,
): readonly string[] {
  const missing: string[] = [];
  const look = (column: string, operator: string, literal: string): void => {
    const found = named(column).filter(({ type }) => type === "TEXT" || type === "DATE");
    if (found.length === 0 || literal === "''") return;
    const isLike = /like/i.test(operator);
    if (has(column, isLike ? "LIKE" : "=", literal)) return;
    const values = new Set(found.flatMap((each) => each.values.filter((value) => typeof value === "string")));
    const near = nearest(literal, [...values]);
    missing.push(
      `no ${column} is ${isLike ? "like " : ""}${literal}${near.length === 0 ? "" : `; there is ${near.join(", ")}`}`,
    );
  };
  const compared = new RegExp(`${outside}(?:\\p{L}\\w*\\.)?${name}\\s*(==?|<>|!=|(?:not\\s+)?like)\\s*${text}`, "giu");
  for (const [, column = "", operator = "", literal = ""] of sql.matchAll(compared)) look(column, operator, literal);
  const listed = new RegExp(`${outside}(?:\\p{L}\\w*\\.)?${name}\\s+(?:not\\s+)?in\\s*\\(([^()]*)\\)`, "giu");
  for (const [, column = "", list = ""] of sql.matchAll(listed))
    for (const [literal] of list.matchAll(new RegExp(text, "gu"))) look(column, "=", literal);
  return missing;
}

/** Values that share a word with a literal, else the first of a few. */
function nearest(literal: string, values: readonly string[]): readonly string[] {
  const words = fold(literal).match(/[\p{L}\p{N}]{3,}/gu) ?? [];
  const near = values.filter((value) => {
    const folded = fold(value);
    return words.some((word) => folded.includes(word) || (folded.length > 2 && word.includes(folded)));
  });
  const chosen = near.length > 0 ? near : values.length <= 12 ? values : [];
  return chosen.slice(0, 8).map((value) => `'${value.slice(0, 48).replaceAll("'", "''")}'`);
}

const whole = (...alternatives: readonly string[]): RegExp =>
  new RegExp(`(?<![\\p{L}\\p{N}])(?:${alternatives.join("|")})(?![\\p{L}\\p{N}])`, "u");

/** Patterns of words in folded text, each a list of alternatives. */
export function wholeWords<Name extends string>(lists: Readonly<Record<Name, readonly string[]>>) {
  const entries = Object.entries<readonly string[]>(lists).map(([key, words]) => [key, whole(...words)]);
  return Object.fromEntries(entries) as Readonly<Record<Name, RegExp>>;
}

/** In a question; `below`: what turns the order of numbers around. */
const { average, different, share, count, lowest, highest, below, single, now } = wholeWords(questionWords.query);
/** What a question asks for, and what a query has that answers it. */
const asked: readonly (readonly [RegExp, RegExp, string])[] = [
  [average, /\bavg\b|\bmedian\b|\//i, "the question asks for an average"],
  [different, /\bdistinct\b|\bgroup by\b/i, "the question asks for different ones: DISTINCT"],
  [share, /\bavg\b|\//i, "the question asks for a share"],
  [count, /\b(?:count|sum|total|avg|min|max|median|group by)\b|-/i, "the question asks for a number"],
];

/** Reasons why a query that ran may not ask what the question asks. */
export function doubtsOf(question: string, sql: string, tables: readonly Table[]): readonly string[] {
  const folded = fold(question);
  const query = fold(sql);
  const doubts = asked.flatMap(([words, has, doubt]) => (words.test(folded) && !has.test(sql) ? [doubt] : []));
  const [isLow, isHigh] = [lowest.test(folded), highest.test(folded)];
  if (isLow !== isHigh && !below.test(folded)) {
    const [up, down] = [/\bmin\b|\border by\b(?![^()]*\bdesc\b)/i.test(sql), /\bmax\b|\bdesc\b/i.test(sql)];
    if (isLow ? !up : !down) doubts.push(`the question asks for the ${isLow ? "lowest" : "highest"}`);
    if (single.test(folded) && /\bgroup by\b[\s\S]*\bsum\b|\bsum\b[\s\S]*\bgroup by\b/i.test(sql))
      doubts.push("the question asks for a single row, not for a sum of rows");
  }
  if (/'now'|\bcurrent_(?:date|time)/i.test(sql) && !now.test(folded))
    doubts.push("the question doesn't speak of today");
  const unread = tables.filter(({ name: table }) => tables.length > 1 && !names(sql, table) && isNamed(table, folded));
  return [
    ...doubts,
    ...unread.map(({ name: table }) => `it does not read ${table}`),
    ...timeDoubts(question, sql, tables),
    ...valueDoubts(folded, query, tables),
    ...mixtures(sql, tables),
  ];
}

/** Whether a question names a table: `orders` of `shop_orders`. */
function isNamed(table: string, question: string): boolean {
  const words = fold(table).match(/\p{L}{4,}/gu) ?? [];
  return words.some((word) => whole(`${word.replace(/e?s$/, "")}(?:e?s|en|n)?`).test(question));
}

/** Months and years of the question that the query has no condition on. */
function timeDoubts(question: string, sql: string, tables: readonly Table[]): readonly string[] {
  const dates = tables.flatMap(({ columns, rows }) =>
    columns.flatMap(({ type }, at) =>
      type === "DATE" ? [new Set(rows.flatMap((row) => (row[at] === null ? [] : [`${row[at]}`.slice(0, 4)])))] : [],
    ),
  );
  if (dates.length === 0) return [];
  const asksYears = question.match(/(?<!\d)(?:19|20)\d{2}(?!\d)/g) ?? [];
  // Rows that all are of one year need no condition on it.
  const isOnly = (each: string) => dates.some((years) => years.size === 1 && years.has(each));
  const year = asksYears.find((each) => !sql.includes(each) && !isOnly(each));
  const month = monthIn(question);
  const number = `${month ?? ""}`;
  const hasMonth = new RegExp(`(?<!\\d)0?${number}(?!\\d)`).test(sql.replaceAll(/(?:19|20)\d{2}/g, ""));
  return [
    ...(year === undefined ? [] : [`it has no condition on ${year}`]),
    ...(month === undefined || hasMonth ? [] : [`it has no condition on month ${number.padStart(2, "0")}`]),
  ];
}

/** The only month that a question names. */
function monthIn(question: string): number | undefined {
  const chinese = /(?<!\d)(1[0-2]|[1-9])\s*月/.exec(question)?.[1];
  if (chinese !== undefined) return Number(chinese);
  const words = question.match(/\p{L}+/gu) ?? [];
  // `may` and `mars` are words, too.
  const said = new Set(words.filter((word) => word.length > 4 || /^\p{Lu}/u.test(word)).map(fold));
  const found = monthNames().flatMap((all, at) => (all.some((each) => said.has(each)) ? [at + 1] : []));
  return found.length === 1 ? found[0] : undefined;
}

const maxValues = 5_000;

/** Values of the tables that the question names, and the query doesn't. */
function valueDoubts(question: string, query: string, tables: readonly Table[]): readonly string[] {
  const words = new Set(question.match(/[\p{L}\p{N}]+/gu));
  const named: { readonly value: string; readonly column: string }[] = [];
  for (const { columns, rows } of tables) {
    for (const [at, { type, name: column }] of columns.entries()) {
      if (type !== "TEXT") continue;
      const values = new Set<string>();
      for (const row of rows) {
        const value = row[at];
        if (typeof value === "string" && value.length > 2 && value.length < 40) values.add(value);
        if (values.size > maxValues) break;
      }
      for (const value of values) {
        const folded = fold(value);
        const [first = ""] = folded.match(/[\p{L}\p{N}]+/u) ?? [];
        // A name of a column, or a word of a question, is no value.
        if (!words.has(first) || fold(column).includes(folded) || /^(?:the|and|not|yes|all|for|one|two)$/.test(folded))
          continue;
        if (whole(escaped(folded)).test(question)) named.push({ value, column });
      }
    }
  }
  const missing = named.filter(({ value }) => !query.includes(fold(value).replaceAll("'", "''")));
  const longest = missing.filter(
    ({ value }) => !named.some((other) => other.value !== value && fold(other.value).includes(fold(value))),
  );
  return longest.slice(0, 3).map(({ value, column }) => `it has no condition on '${value}' (${column})`);
}

function escaped(value: string): string {
  return value.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

const measured =
  /(?:^|_)(?:currency|curr|wahrung|devise|moneda|valuta|divisa|unit|units|uom|einheit|unite|unidad|unita|货币|币种|单位)(?:_?\d)?$/u;

const amounts =
  /amount|price|total|cost|revenue|turnover|sales|value|fee|balance|paid|net|betrag|preis|summe|umsatz|kosten|wert|saldo|prix|montant|cout|importe|precio|coste|saldo|importo|prezzo|costo|金额|价|额/u;

/** Sums of amounts over several currencies or units. */
function mixtures(sql: string, tables: readonly Table[]): readonly string[] {
  const sums = [...sql.matchAll(/\b(?:sum|avg|total)\s*\(((?:[^()]|\([^()]*\))*)\)/giu)].map(([, inside = ""]) =>
    inside.replaceAll(/\bwhen\b[\s\S]*?\bthen\b/gi, ""),
  );
  const isAmount = ({ name: column, type, title }: Column): boolean =>
    (type === "REAL" || (type === "INTEGER" && amounts.test(fold(title)))) && sums.some((each) => names(each, column));
  return tables.flatMap(({ columns, rows }) => {
    if (!columns.some(isAmount)) return [];
    return columns.flatMap(({ name: column, type }, at) => {
      if (type !== "TEXT" || names(sql, column)) return [];
      const values = new Set(rows.map((row) => row[at] ?? null));
      values.delete(null);
      const isMeasure = measured.test(fold(column)) || [...values].every((each) => isCurrency(`${each}`));
      if (!isMeasure || values.size < 2 || values.size > 12) return [];
      return [`it adds up ${[...values].slice(0, 4).join(", ")}: group by ${column}, or choose one`];
    });
  });
}

/** Whether a query has a name. */
function names(sql: string, column: string): boolean {
  return new RegExp(`(?<![\\p{L}\\p{N}_])${escaped(column)}(?![\\p{L}\\p{N}_])`, "iu").test(sql);
}

function isCurrency(value: string): boolean {
  return value.length < 4 && currencyOf(value) === value.toUpperCase();
}
