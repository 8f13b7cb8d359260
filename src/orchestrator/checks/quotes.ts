/** The check `quotes`: what an answer says is looked for in the files. Pure. */
import type { CheckResult, CheckedStatement } from "../api/facade-answers.ts";
import { parseJson } from "../util/parse-json.ts";
import { type QuotePlace, findQuotes, linesOf, wordsOf } from "./quote-search.ts";
import { type Statement, statementsOf, stopWords, valuesOf } from "./quote-statements.ts";
import { datesOf, hasNumber, isIn, isMonthIn, monthNames, numberWords, numbersOf } from "./values.ts";
import type { GenerateRequest } from "../api/facade.ts";
import type { Quoted } from "../generation/ports.ts";
import { countStatements, evidenceMark } from "../util/format-bytes.ts";
import { defined } from "../util/defined.ts";

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
  readonly request: GenerateRequest;
  readonly #files: NonNullable<GenerateRequest["files"]>;
  readonly #asked: string;
  #readQuestion: Question | undefined;
  readonly #evidences = new Map<string, Evidence>();

  constructor(request: GenerateRequest, { files = [], question }: Quoted) {
    const { prompt, format } = request;
    // Values of a JSON answer are looked for as they are.
    this.request = format === undefined ? { ...request, prompt: `${instruction}\n\n${prompt}` } : request;
    this.#files = files;
    this.#asked = question;
  }

  get #question(): Question {
    return (this.#readQuestion ??= readQuestion(this.#asked));
  }

  /** The answer with a place behind each statement; JSON stays as it is. */
  judge(answer: string): { readonly text: string; readonly result: CheckResult } {
    const isJson = this.request.format !== undefined;
    const statements = isJson ? valuesOf(jsonOf(answer)) : statementsOf(answer, this.#question.words);
    const searched = this.#search(statements);
    const lines = this.#lines(searched);
    const checked = searched.map((each) => this.#checked(each, lines));
    const problem = problemOf(checked);
    return {
      text:
        isJson || checked.length === 0
          ? answer
          : checked.map((each) => `${each.text} ${evidenceMark(each)}`).join("\n"),
      result: { kind: "quotes", statements: checked, ...defined({ problem }) },
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

  #checked({ statement, found }: Searched, lines: Lines): CheckedStatement {
    const { text } = statement;
    const proof = this.#proof(statement, found, lines);
    const path = proof === undefined ? undefined : this.#files[proof.place.text - 1]?.path;
    if (path === undefined || proof === undefined) return { text, status: "not_found" };
    const { quote, place } = proof;
    const status = !statement.isValue && statement.quotes.includes(quote) ? "quoted" : "value_found";
    const line = evidenceOf(quote, place, lines).replaceAll(/\s+/g, " ").trim().slice(0, 160);
    return { text, status, where: `${path}:${place.line}`, line };
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

const shownCharacters = 80;

function problemOf(statements: readonly CheckedStatement[]): string | undefined {
  const missing = statements.find(({ status }) => status === "not_found");
  if (missing === undefined && statements.some(({ where }) => where !== undefined)) return undefined;
  if (missing === undefined) return "the answer states nothing that could be looked for in the files";
  const text = missing.text.replaceAll(/\s+/g, " ");
  const shown = text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text;
  return `${countStatements(statements)}: ${shown}`;
}

/** What a request asks, as words. */
interface Question {
  readonly words: ReadonlySet<string>;
  readonly stems: ReadonlySet<string>;
  /** It asks for something, which its quote names. A task, such as a summary, does not. */
  readonly asks: boolean;
}

function readQuestion(prompt: string): Question {
  const words = wordsOf(prompt);
  return { words: new Set(words), stems: new Set(contentStems(prompt)), asks: prompt.includes("?") };
}

/** Quoted lines, as words. */
interface Evidence {
  readonly words: ReadonlySet<string>;
  readonly stems: ReadonlySet<string>;
  readonly numbers: ReadonlySet<string>;
  readonly dates: ReadonlySet<string>;
  /** It says that something is not so. */
  readonly isDenial: boolean;
}

function readEvidence(text: string): Evidence {
  const words = wordsOf(text);
  const [numbers, dates] = [numbersOf(text), new Set(datesOf(words))];
  return { words: new Set(words), stems: new Set(contentStems(text)), numbers, dates, isDenial: negated.test(text) };
}

/**
 * Numbers, dates, identifiers and names of the statement have to be in the evidence, except those that it only repeats
 * from the question beside new ones that are. The evidence shares a word with the question, or two others, no numbers,
 * with the statement. A statement that is its own quote is looked at more strictly: what answers a question shares a word
 * with it, and at most half of the words that it adds are not in the evidence. Only evidence with a
 * negation proves that something is not so, and it proves nothing else.
 */
function supports(statement: Statement, question: Question, evidence: Evidence, isOwnQuote: boolean): boolean {
  const { text } = statement;
  const { words, stems, numbers } = evidence;
  if (filesSayNothing.test(text)) return false;
  if (statement.isAbsence || negated.test(text)) {
    if (![...words].some((word) => negation.test(word))) return false;
  } else if (evidence.isDenial) return false;
  const isThere = (word: string): boolean => (hasNumber(word) ? isIn(word, words, numbers) : words.has(word));

  const digits = wordsOf(text.replace(/^\d{1,3}[.)]\s/, "")).filter(hasNumber);
  const missing = digits.filter((word) => !isThere(word));
  const hasNew = digits.some((word) => !question.words.has(word) && isThere(word));
  if (missing.some((word) => !(hasNew && question.words.has(word)))) return false;
  if (datesOf(wordsOf(text)).some((date) => !evidence.dates.has(date))) return false;
  const names = namesOf(text).filter((word) => !question.words.has(word) && !stopWords.has(word));
  if (names.some((word) => !isThere(word) && !isMonthIn(word, numbers))) return false;

  const own = contentStems(text);
  const added = new Set(own.filter((stem) => !question.stems.has(stem)));
  const shared = [...added].filter((stem) => stems.has(stem) || isIn(stem, words, numbers));
  if (own.length === 0 || (added.size > 0 && shared.length === 0)) return false;
  if (isOwnQuote && shared.length * 2 < added.size) return false;
  if ([...question.stems].some((stem) => stems.has(stem))) return true;
  const isTask = !question.asks || question.stems.size === 0;
  return (isTask || !isOwnQuote) && shared.filter((stem) => !isPartOfValue(stem)).length > 1;
}

/** Numbers and months are what is stated, and don't say of what. */
function isPartOfValue(stem: string): boolean {
  return (
    hasNumber(stem) || numberWords.includes(stem) || monthNames.some((name) => stemOf(name.toLowerCase()) === stem)
  );
}

/** Whether the evidence of a JSON value has a word of its name, of the texts beside it, or of the question. */
function isRelated({ about }: Statement, question: Question, { stems }: Evidence): boolean {
  return [...contentStems(about), ...question.stems].some((stem) => stems.has(stem));
}

/** A line that denies something else would seem to prove it. */
const filesSayNothing =
  /\b(?:files?|texts?|documents?|passages?|excerpts?) (?:\w+ )?(?:not|\w+n['’]t|cannot) (?:\w+ )?(?:say|state|mention|specify|tell|give|list|provide|contain|include)\b/i;
/** `no.` is a number. */
const negated = /\b(?:not|never|no(?:body|thing|ne)|neither|without|cannot|no(?!\.))\b|n['’]t\b/i;
/** The last is the end of `isn't`. */
const negation = /^(?:not?|never|no(?:body|thing|ne)|neither|without|cannot|unknown|t)$/;

/** Words other than stop words, without endings; also the parts of `camelCase` and `snake_case`. */
function contentStems(text: string): readonly string[] {
  const parts = text.replaceAll(/(\p{Ll})(\p{Lu})/gu, "$1 $2").replaceAll("_", " ");
  return [...wordsOf(text), ...wordsOf(parts)].filter((word) => !stopWords.has(word)).map(stemOf);
}

function stemOf(word: string): string {
  if (hasNumber(word) || numberWords.includes(word)) return word;
  const singular = word.replace(/ies$/, "y");
  const stem = singular.replace(/(?:ing|ed|es|er|s|e)$/, "");
  return (stem.length >= 3 ? stem : singular).slice(0, 7);
}

/** Words with a capital letter that begin no sentence, identifiers, and what stands in quotation marks or backticks. */
function namesOf(text: string): readonly string[] {
  const names: string[] = [];
  const pieces = text.split(/\s+/).filter((piece) => piece !== "");
  for (const [index, piece] of pieces.entries()) {
    const isCapital = /^[^\p{L}\p{N}]*\p{Lu}/u.test(piece) && (index > 0 || pieces.length < 4);
    const isIdentifier = /\p{L}_\p{L}|\p{Ll}\p{Lu}|\p{Lu}{2}|\p{L}\p{N}|\p{L}[@/]\p{L}/u.test(piece);
    if (isCapital || isIdentifier) names.push(...wordsOf(piece));
  }
  for (const mark of ['"', "`"]) {
    const between = text.split(mark);
    for (let at = 1; at + 1 < between.length; at += 2) names.push(...wordsOf(between[at] ?? ""));
  }
  return names;
}
