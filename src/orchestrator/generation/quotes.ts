import type { CheckResult, CheckedQuote } from "../api/facade-answers.ts";
import { parseJson } from "../util/parse-json.ts";
import { type QuotePlace, findQuotes, linesOf, wordsOf } from "./quote-search.ts";
import { type Statement, statementsOf, valuesOf } from "./quote-statements.ts";
import { type Evidence, type Question, isRelated, readEvidence, readQuestion, supports } from "./quote-support.ts";
import type { DecidedRequest } from "./route.ts";

/** Behind the files, so that all questions about them have the same prefix. */
const instruction =
  "Answer in full sentences. After each sentence copy the words from the files that say so, in quotation marks.";

/** A shorter quote proves nothing, unless it is a whole line, cell or value. */
const least = { words: 2, characters: 8 };

/** Longer lines, and quotes over more lines, are evidence only as far as they are quoted. */
const mostEvidence = { lineCharacters: 400, lines: 20 };

/** A statement with all texts that may prove it, each with its places. */
interface Searched {
  readonly statement: Statement;
  readonly found: readonly { readonly quote: string; readonly places: readonly QuotePlace[] }[];
}

/** Lines of the files that were quoted, by text and number. */
type Lines = readonly ReadonlyMap<number, string>[];

interface Proof {
  readonly quote: string;
  readonly place: QuotePlace;
}

/** The whole files, and what is asked about them: prompts may be made of parts. */
export interface Quoted {
  readonly files: DecidedRequest["files"];
  readonly question: string;
}

/**
 * The check `quotes`: each statement has to be supported by a literal quote from the files. No model judges.
 *
 * - A statement is a sentence, a list item or a pair of statement and quote; with a `format` it is a string or number of
 *   the JSON, which is its own quote (dates and numbers also in other forms). A boolean can't be quoted: it counts as
 *   unsupported. `null` and empty texts state nothing.
 * - Quotes are equal to text of a file in whole words, with case, whitespace, typography and Markdown folded; `…` may
 *   leave out words. Without one, the words that a statement adds to the question are looked for: small models don't quote.
 * - It has to be about the statement: numbers, dates, identifiers and names are in the lines quoted, and so is a word that
 *   connects them with the question.
 * - A quote of the question or of the instruction does not count, nor does one that is too short.
 *
 * It passes if there are statements and all are supported. "The files don't say" never passes: no quote can prove it.
 */
export class QuotesCheck {
  readonly request: DecidedRequest;
  readonly #files: NonNullable<DecidedRequest["files"]>;
  readonly #question: Question;
  readonly #asked: string;
  readonly #evidences = new Map<string, Evidence>();

  constructor(request: DecidedRequest, { files = [], question }: Quoted) {
    const { prompt, format } = request;
    // Values of a JSON answer are looked for as they are.
    this.request = format === undefined ? { ...request, prompt: `${instruction}\n\n${prompt}` } : request;
    this.#files = files;
    this.#asked = question;
    this.#question = readQuestion(question);
  }

  /** The answer with a place behind each statement; JSON stays as it is. */
  judge(answer: string): { readonly text: string; readonly result: CheckResult } {
    const isJson = this.request.format !== undefined;
    const statements = isJson ? valuesOf(jsonOf(answer)) : statementsOf(answer, this.#question.words);
    const searched = this.#search(statements);
    const lines = this.#lines(searched);
    const quotes = searched.map((each) => this.#checked(each, lines));
    const verified = quotes.filter(({ path }) => path !== undefined).length;
    const [hasPassed, total] = [verified === quotes.length && verified > 0, quotes.length];
    const problem = hasPassed ? undefined : problemOf(quotes, statements);
    return {
      text: isJson || total === 0 ? answer : quotes.map(withPlace).join("\n"),
      result: { check: "quotes", hasPassed, ...(problem === undefined ? {} : { problem }), verified, total, quotes },
    };
  }

  #search(statements: readonly Statement[]): readonly Searched[] {
    // The question comes first: its quotes don't count.
    const texts = [`${instruction}\n${this.#asked}`, ...this.#files.map(({ text }) => text)];
    const quotes = statements.flatMap(({ quotes: own, spans }) => [...own, ...spans]);
    const { places } = findQuotes(texts, quotes);
    let at = 0;
    return statements.map((statement) => {
      const found = [...statement.quotes, ...statement.spans].map((quote) => ({ quote, places: places[at++] ?? [] }));
      return { statement, found: found.filter((each) => statement.isValue || !each.places.some(isQuestion)) };
    });
  }

  #lines(searched: readonly Searched[]): Lines {
    const wanted = this.#files.map(() => new Set<number>());
    for (const { text, line, endLine } of searched.flatMap(({ found }) => found.flatMap(({ places }) => places))) {
      if (endLine - line < mostEvidence.lines) for (let at = line; at <= endLine; at += 1) wanted[text - 1]?.add(at);
    }
    const limit = mostEvidence.lineCharacters + 1;
    return this.#files.map(({ text }, index) => linesOf(text, wanted[index] ?? new Set(), limit));
  }

  #checked({ statement, found }: Searched, lines: Lines): CheckedQuote {
    const proof = this.#proof(statement, found, lines);
    const own = { statement: statement.text, quote: proof?.quote ?? statement.quotes[0] ?? "" };
    const path = proof === undefined ? undefined : this.#files[proof.place.text - 1]?.path;
    return path === undefined || proof === undefined ? own : { ...own, path, line: proof.place.line };
  }

  #proof(statement: Statement, found: Searched["found"], lines: Lines): Proof | undefined {
    const own = new Set(statement.quotes);
    const given: (Proof & { readonly text: string })[] = [];
    for (const { quote, places } of found) {
      for (const place of places) {
        if (isQuestion(place)) continue;
        const text = evidenceOf(quote, place, lines);
        if (!provesAnything(quote, statement, text)) continue;
        if (this.#supports(statement, quote, this.#evidence(text), !own.has(quote))) return { quote, place };
        if (own.has(quote) && given.at(-1)?.quote !== quote) given.push({ quote, place, text });
      }
    }
    if (statement.isValue || given.length < 2) return undefined;
    // Several quotes may support a statement together.
    const together = readEvidence(given.map(({ text }) => text).join("\n"));
    return supports(statement, this.#question, together, false) ? given[0] : undefined;
  }

  #supports(statement: Statement, quote: string, evidence: Evidence, isOwnQuote: boolean): boolean {
    if (!statement.isValue) return supports(statement, this.#question, evidence, isOwnQuote);
    return isLongEnough(quote) || isRelated(statement, this.#question, evidence);
  }

  /** Many statements may be about the same lines. */
  #evidence(text: string): Evidence {
    const known = this.#evidences.get(text);
    if (known !== undefined) return known;
    const evidence = readEvidence(text);
    this.#evidences.set(text, evidence);
    return evidence;
  }
}

const isQuestion = ({ text }: QuotePlace): boolean => text === 0;

/** The lines that are quoted; the quote itself if they are too long. */
function evidenceOf(quote: string, { text, line, endLine }: QuotePlace, lines: Lines): string {
  if (endLine - line >= mostEvidence.lines) return quote;
  const own: string[] = [];
  for (let at = line; at <= endLine; at += 1) own.push(lines[text - 1]?.get(at) ?? "");
  return own.some(({ length }) => length > mostEvidence.lineCharacters) ? quote : own.join("\n");
}

function isLongEnough(quote: string): boolean {
  const words = wordsOf(quote);
  return words.length >= least.words || words.join(" ").length >= least.characters;
}

/** Whether the quote is long enough, or a value of its own in the lines. */
function provesAnything(quote: string, { isValue }: Statement, evidence: string): boolean {
  if (isValue || isLongEnough(quote)) return true;
  const [word = ""] = wordsOf(quote);
  // Digits are whole numbers here: words are compared whole.
  if (/\d/.test(word)) return true;
  return evidence.split(/[\n:=|,;\t]|\s{2}/).some((cell) => wordsOf(cell).join(" ") === word);
}

/** Undefined for text that is not JSON, which states nothing. */
function jsonOf(answer: string): unknown {
  try {
    return parseJson(answer);
  } catch {
    return undefined;
  }
}

function withPlace({ statement, path, line }: CheckedQuote): string {
  return `${statement} [${path === undefined ? "not found in the files" : `${path}:${line}`}]`;
}

const shownCharacters = 80;

function problemOf(quotes: readonly CheckedQuote[], statements: readonly Statement[]): string {
  const failed = quotes.filter(({ path }) => path === undefined);
  const [first] = failed;
  if (first === undefined) return "the answer states nothing that could be looked for in the files";
  const isAbsence = quotes.every(({ path }, index) => path !== undefined || statements[index]?.isAbsence === true);
  if (isAbsence) return "the answer says that the files don't tell, which no quote can prove";
  const text = first.statement.replaceAll(/\s+/g, " ");
  const shown = text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text;
  return `${failed.length} of ${quotes.length} statements not supported by the files: ${shown}`;
}
