/** The check `quotes`: what an answer states is looked for in the files. Pure. */
import type { CheckResult, CheckedStatement } from "../api/facade-answers.ts";
import { defined, jsonIn } from "../util/values.ts";
import { Lines, keysOf, statementsOf, valuesOf } from "./quote-lines.ts";
import { findQuotes, wordsOf } from "./quote-search.ts";
import { months } from "./notation-words.ts";
import { datesOf, hasNumber, numbersOf } from "./values.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { Quoted } from "../generation/ports.ts";
import { countStatements, evidenceMark, shortened } from "../util/format-bytes.ts";

/** Behind the files, so that all questions about them have the same prefix. */
const instruction =
  "Answer in full sentences. After each sentence copy the words from the files that say so, in quotation marks.";

/** A shorter quote stands in most files, unless it is a number, or a whole line, cell or value. */
const least = { words: 2, characters: 8 };
/** Lines that are shown of a statement. */
const mostLines = 3;
/** The share of the words of a statement, by their weights, that the nearest line has at least. */
const leastShared = 0.2;
/** Values of longer statements are not looked for. */
const mostValues = 40;

type Statement = ReturnType<typeof statementsOf>[number];

/** A statement, what it is looked for by, and where its quotes stand. */
interface Searched {
  readonly statement: Statement;
  readonly keys: ReadonlySet<string>;
  /** The keys of each of its values: one of them has to be found. */
  readonly values: readonly (readonly string[])[];
  readonly found: readonly {
    readonly quote: string;
    readonly places: ReturnType<typeof findQuotes>["places"][number];
  }[];
}

/**
 * The check `quotes`: shows what stands in the files about each statement. No rule says whether it is true: the reader of
 * the line beside it sees that.
 *
 * - A statement is a sentence, a list item or a pair of statement and quote; with a `format` a value of the JSON. `null` and
 *   empty texts state nothing.
 * - `quoted`: words that it gives as a quote, or all of its own, stand in a file, with case, white space, typography and
 *   Markdown folded; `…` may leave out words.
 * - `value_found`: each number, date, identifier and name that it adds to the question stands in a file, in any notation.
 * - `not_found`: one of them does not, or its quote does not. `not_judged`: it has neither. Both show the line that is
 *   nearest by its words, if one is near.
 *
 * Another model is asked if something was not found, or nothing was.
 */
export function judgeQuotes(answer: string, isJson: boolean, { files = [], question }: Quoted) {
  const asked = keysOf(question);
  const searched = searchedIn(
    isJson ? valuesOf(jsonIn(answer)) : statementsOf(answer),
    files.map(({ text }) => text),
    asked,
  );
  const lines = new Lines(
    files.map(({ text }) => text),
    new Set([...asked, ...searched.flatMap(({ keys, values }) => [...keys, ...values.flat()])]),
  );
  const paths = files.map(({ path }) => path);
  const statements = searched.map((each) => checked(each, lines, paths, asked));
  const result: CheckResult = { kind: "quotes", statements, ...defined({ problem: problemOf(statements) }) };
  // The answer with what stands behind each statement; JSON stays as it is.
  return { text: isJson || statements.length === 0 ? answer : marked(statements), result };
}

/** The request as models get it. Values of a JSON answer are looked for as they are. */
export function promptForQuotes({ prompt, format }: Pick<GenerateRequest, "prompt" | "format">): string {
  return format === undefined ? `${instruction}\n\n${prompt}` : prompt;
}

function searchedIn(statements: readonly Statement[], texts: readonly string[], asked: readonly string[]) {
  const quotesOf = ({ text, quotes, value = text }: Statement): readonly string[] => [...quotes, value];
  const { places } = findQuotes(texts, statements.flatMap(quotesOf));
  let at = 0;
  return statements.map((statement): Searched => {
    const { text, quotes, value } = statement;
    const found = quotesOf(statement).map((quote) => ({ quote, places: places[at++] ?? [] }));
    const keys = new Set([text, ...quotes].flatMap(keysOf));
    return { statement, keys, found, values: value === undefined ? valuesIn(text, asked) : numbersIn(value) };
  });
}

/** Those that it adds to the question; if there are none, the numbers that it repeats. */
function valuesIn(text: string, asked: readonly string[]): Searched["values"] {
  const values = [...numbersIn(text), ...namesOf(text).map((name) => [`=${name}`])].slice(0, mostValues);
  const added = values.filter((keys) => !keys.some((key) => asked.includes(key)));
  return added.length > 0 ? added : numbersIn(text);
}

function checked(
  searched: Searched,
  lines: Lines,
  paths: readonly string[],
  asked: readonly string[],
): CheckedStatement {
  const { statement, keys, values } = searched;
  const { text, quotes, value } = statement;
  const shown = (pieces: readonly number[], about: ReadonlySet<string> = keys) =>
    pieces.length === 0 ? {} : lines.show(paths, pieces, about);
  if (value === "") return { text, status: "not_judged" };
  const scores = scoresOf(searched, lines, asked);
  const quoted = quotedIn(searched, lines, scores, asked);
  if (quoted !== undefined) {
    const status = value === undefined ? "quoted" : "value_found";
    return { text, status, ...shown(quoted.pieces, new Set(keysOf(quoted.quote))) };
  }
  const near = nearest(searched, lines, scores);
  const isFound = values.length > 0 && values.every((own) => own.some((key) => lines.with(key).length > 0));
  if (isFound) return { text, status: "value_found", ...shown(cover(values, lines, scores, near)) };
  const isMissing = values.length > 0 || quotes.length > 0 || value !== undefined;
  return { text, status: isMissing ? "not_found" : "not_judged", ...shown(near) };
}

/** The line that shares most with the statement, if it shares enough of its words to be about it. */
function nearest({ keys }: Searched, lines: Lines, scores: Scores): readonly number[] {
  const [at] = best(scores) ?? [];
  if (at === undefined) return [];
  const own = [...keys].filter((key) => !key.startsWith("="));
  const weightOf = (some: readonly string[]): number => some.reduce((sum, key) => sum + lines.weight(key), 0);
  const shared = weightOf(own.filter((key) => lines.with(key).includes(at)));
  return shared > 0 && shared >= leastShared * weightOf(own) ? [at] : [];
}

/** The lines of the quote that has most to do with the statement. */
function quotedIn(
  { statement: { text, quotes, value }, found }: Searched,
  lines: Lines,
  scores: Scores,
  asked: readonly string[],
) {
  for (const { quote, places } of found) {
    // Its own words are its quote only if it gave none.
    if (quote === text && quotes.length > 0) continue;
    const [first] = places
      .map((place) => lines.within(place))
      .map((pieces) => ({ quote, pieces, score: Math.max(0, ...pieces.map((at) => scores.get(at) ?? 0)) }))
      .toSorted((one, other) => other.score - one.score);
    if (first === undefined) continue;
    if (
      value !== undefined ||
      isLongEnough(quote) ||
      isCell(quote, first.pieces, lines, quote === text ? asked : undefined)
    )
      return first;
  }
  return undefined;
}

/** Whether a short quote is a whole line, cell or value; an answer of one word has to stand beside a word of the question. */
function isCell(quote: string, pieces: readonly number[], lines: Lines, beside: readonly string[] | undefined) {
  const cells = lines.textOf(pieces).split(/[\n:=|,;\t]|\s{2}/);
  if (!cells.some((cell) => wordsOf(cell).join(" ") === wordsOf(quote).join(" "))) return false;
  return beside === undefined || beside.some((key) => pieces.some((at) => lines.with(key).includes(at)));
}

/** How much each line has to do with the statement, by its words; those of the question count half. */
function scoresOf({ keys }: Searched, lines: Lines, asked: readonly string[]): Scores {
  const scores = new Map<number, number>();
  for (const [own, share] of [
    [keys, 1],
    [new Set(asked), 0.5],
  ] as const) {
    for (const key of own) {
      if (key.startsWith("=")) continue;
      for (const at of lines.with(key)) scores.set(at, (scores.get(at) ?? 0) + share * lines.weight(key));
    }
  }
  return scores;
}

/** Each statement with what is known of it. */
export function marked(statements: readonly CheckedStatement[]): string {
  return statements.map((each) => `${each.text} ${evidenceMark(each)}`).join("\n");
}

type Scores = ReadonlyMap<number, number>;

function best(scores: Scores): readonly [piece: number, score: number] | undefined {
  let found: readonly [number, number] | undefined;
  for (const entry of scores) if (found === undefined || entry[1] > found[1]) found = entry;
  return found;
}

/** The fewest lines that have all values; of equal ones those that have most to do with the statement. */
function cover(values: Searched["values"], lines: Lines, scores: Scores, near: readonly number[]): readonly number[] {
  const chosen: number[] = [];
  let left = values;
  while (left.length > 0 && chosen.length < mostLines) {
    const counts = new Map<number, number>();
    for (const keys of left)
      for (const at of new Set(keys.flatMap((key) => lines.with(key)))) counts.set(at, (counts.get(at) ?? 0) + 1);
    const [first] =
      best(new Map(Array.from(counts, ([at, count]) => [at, count * 1_000 + (scores.get(at) ?? 0)]))) ?? [];
    if (first === undefined) break;
    chosen.push(first);
    left = left.filter((keys) => !keys.some((key) => lines.with(key).includes(first)));
  }
  return [...new Set([...chosen, ...near])].slice(0, mostLines).toSorted((one, other) => one - other);
}

function isLongEnough(quote: string): boolean {
  const words = wordsOf(quote);
  // Digits are whole numbers here: words are compared whole.
  return words.length >= least.words || words.join(" ").length >= least.characters || words.some(hasNumber);
}

const shownCharacters = 80;

/** Why another model is asked. */
export function problemOf(statements: readonly CheckedStatement[]): string | undefined {
  const missing =
    statements.find(({ status }) => status === "contradicted") ??
    statements.find(({ status }) => status === "not_found");
  const isBacked = ({ where, status }: CheckedStatement): boolean => where !== undefined || status === "supported";
  if (missing === undefined && statements.some(isBacked)) return undefined;
  if (missing === undefined) return "the answer states nothing that could be looked for in the files";
  const text = missing.text.replaceAll(/\s+/g, " ");
  return `${countStatements(statements)}: ${shortened(text, shownCharacters)}`;
}

/** The keys of each number and date of a text. The year of a date is a number of its own. */
function numbersIn(text: string): Searched["values"] {
  const words = wordsOf(text.replace(/^\d{1,3}[.)]\s/, ""));
  const { dates, parts, years } = datesOf(words);
  // `one` is no number most of the time.
  const numbers = words.filter(
    (word, at) => !parts.has(at) && (/^-?\d/.test(word) || (!hasNumber(word) && word !== "one")),
  );
  // Which number of `3/4/2026` is the month depends on the country.
  const ways = dates.map((date) => [date, date.replace(/(\d+) (\d+)/, "$2 $1")].filter((way) => dates.includes(way)));
  return [
    ...[...numbers.map(numbersOf), ...years.map((year) => [year])].map((own) => own.map((number) => `#${number}`)),
    ...ways.map((own) => own.map((date) => `@${date}`)),
  ].filter(({ length }) => length > 0);
}

/** An answer of one word is a name, unless it is one of these. */
const noName = /^(?:yes|no|true|false|none|unknown|maybe|ja|nein|oui|non|sí|si|sì)$/;
/** German writes all nouns with capitals: only two in a row are a name there. */
const german = /\b(?:der|das|und|ist|eine?[mnrs]?|nicht|wird|wurde|sind|für|zum|zur|dem)\b/u;

/** Words with a capital letter that begin no sentence, identifiers, and what stands in quotation marks or backticks. */
function namesOf(text: string): readonly string[] {
  const names: string[] = [];
  const pieces = text.split(/\s+/).filter((piece) => piece !== "");
  const isCapital = (piece: string | undefined): boolean => /^[^\p{L}\p{N}]*\p{Lu}/u.test(piece ?? "");
  const isGerman = german.test(text);
  for (const [index, piece] of pieces.entries()) {
    const before = index < 2 ? undefined : pieces[index - 1];
    const isBeside = isCapital(before) || (index > 0 && isCapital(pieces[index + 1]));
    const isName = isCapital(piece) && (isGerman ? isBeside : index > 0 || pieces.every(isCapital));
    const isIdentifier = /\p{L}_\p{L}|\p{Ll}\p{Lu}|\p{Lu}{2}|\p{L}\p{N}|\p{L}[@/]\p{L}/u.test(piece);
    // That of a number is its unit.
    const isUnit = /^\p{L}{1,3}\W*$/u.test(piece) && hasNumber(pieces[index - 1] ?? "");
    if ((isName || isIdentifier) && !isUnit) names.push(...wordsOf(piece));
  }
  for (const mark of ['"', "`"]) {
    const between = text.split(mark);
    for (let at = 1; at + 1 < between.length; at += 2) names.push(...wordsOf(between[at] ?? ""));
  }
  return names.filter((name) => name.length > 1 && !/^-?\d/.test(name) && !months.has(name) && !noName.test(name));
}
