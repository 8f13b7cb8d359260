/** Whether quoted lines are about a statement, as far as that can be checked without a model. Pure. */
import { wordsOf } from "./quote-search.ts";
import { type Statement, monthNames, numberWords, stopWords } from "./quote-statements.ts";

/** What a request asks, as words. */
export interface Question {
  readonly words: ReadonlySet<string>;
  readonly stems: ReadonlySet<string>;
  /** It asks for something, which its quote names. A task, such as a summary, does not. */
  readonly asks: boolean;
}

export function readQuestion(prompt: string): Question {
  const words = wordsOf(prompt);
  return { words: new Set(words), stems: new Set(contentStems(prompt)), asks: prompt.includes("?") };
}

/** Quoted lines, as words. */
export interface Evidence {
  readonly words: ReadonlySet<string>;
  readonly stems: ReadonlySet<string>;
  readonly numbers: ReadonlySet<string>;
  readonly dates: ReadonlySet<string>;
  /** It says that something is not so. */
  readonly isDenial: boolean;
}

export function readEvidence(text: string): Evidence {
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
export function supports(statement: Statement, question: Question, evidence: Evidence, isOwnQuote: boolean): boolean {
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
export function isRelated({ about }: Statement, question: Question, { stems }: Evidence): boolean {
  return [...contentStems(about), ...question.stems].some((stem) => stems.has(stem));
}

/** A line that denies something else would seem to prove it. */
const filesSayNothing =
  /\b(?:files?|texts?|documents?|passages?|excerpts?) (?:\w+ )?(?:not|\w+n['’]t|cannot) (?:\w+ )?(?:say|state|mention|specify|tell|give|list|provide|contain|include)\b/i;
/** `no.` is a number. */
const negated = /\b(?:not|never|no(?:body|thing|ne)|neither|without|cannot|no(?!\.))\b|n['’]t\b/i;
/** The last is the end of `isn't`. */
const negation = /^(?:not?|never|no(?:body|thing|ne)|neither|without|cannot|unknown|t)$/;
const hasNumber = (word: string): boolean => /\p{Nd}/u.test(word);

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

function numbersOf(text: string): ReadonlySet<string> {
  const numbers = new Set<string>();
  for (const word of wordsOf(text)) {
    const at = numberWords.indexOf(word);
    if (at >= 0) numbers.add(String(at));
    const month = monthOf(word);
    if (month > 0) numbers.add(String(month));
    if (!hasNumber(word)) continue;
    for (const form of canonical(word)) numbers.add(form);
    // Dates are compared part by part, because their order differs.
    if (/^\d{1,4}([./])\d{1,2}\1(?:\d{1,4})?$/.test(word))
      for (const part of word.split(/[./]/)) numbers.add(bare(part));
    const [, amount] = /^(-?[\d.,]+)[^\d.,]{1,3}$/.exec(word) ?? [];
    if (amount !== undefined) for (const form of canonical(amount)) numbers.add(form);
  }
  return numbers;
}

function isIn(word: string, words: ReadonlySet<string>, numbers: ReadonlySet<string>): boolean {
  if (words.has(word) || numbers.has(String(numberWords.indexOf(word)))) return true;
  if (!hasNumber(word)) return false;
  const [, amount = word, unit = ""] = /^(-?[\d.,]+)([^\d.,]{1,3})$/.exec(word) ?? [];
  const isOrdinal = ["st", "nd", "rd", "th"].includes(unit);
  if (unit !== "" && !isOrdinal && !words.has(unit)) return false;
  return canonical(amount).some((form) => numbers.has(form));
}

/** Month and day of each date: the day is beside the name of the month, or the date is written in numbers. */
function datesOf(words: readonly string[]): readonly string[] {
  const dates: string[] = [];
  for (const [at, word] of words.entries()) {
    const month = monthOf(word);
    const beside = month === 0 ? [] : [words[at - 1] ?? "", words[at + 1] ?? ""];
    for (const each of beside) {
      const day = /^\d{1,2}(?:st|nd|rd|th)?$/.test(each) ? Number.parseInt(each, 10) : 0;
      if (day > 0 && day <= 31) dates.push(`${month} ${day}`);
    }
    const next = words.slice(at, at + 3).map(Number);
    const [year = 0, second = 0, third = 0] = next;
    if (/^\d{4}$/.test(word) && isDate(second, third) && year > 1_000) dates.push(`${second} ${third}`);
    const [, one, other] = /^(\d{1,2})[./](\d{1,2})[./](?:\d{4}|\d\d)?$/.exec(word) ?? [];
    const [day, number] = [Number(one), Number(other)];
    // Which of them is the month depends on the country.
    if (isDate(number, day)) dates.push(`${number} ${day}`);
    if (isDate(day, number) && day !== number) dates.push(`${day} ${number}`);
  }
  return dates;
}

const isDate = (month: number, day: number): boolean => month >= 1 && month <= 12 && day >= 1 && day <= 31;

/** 0 for a word that is no month. */
function monthOf(word: string): number {
  return 1 + monthNames.findIndex((name) => name.toLowerCase() === word || name.slice(0, 3).toLowerCase() === word);
}

/** `1,234.50` and `1.234,50` are 1234.5; `1.234` may be either. */
function canonical(word: string): readonly string[] {
  if (word.length > 40 || !/^-?\d[\d.,]*$/.test(word)) return [word];
  const mark = Math.max(word.lastIndexOf("."), word.lastIndexOf(","));
  if (mark < 0) return [bare(word)];
  const [head, tail] = [word.slice(0, mark).replaceAll(/[.,]/g, ""), word.slice(mark + 1)];
  const kinds = new Set(word.replaceAll(/[^.,]/g, ""));
  const marks = word.replaceAll(/[^.,]/g, "").length;
  const thousands = bare(head + tail);
  const decimal = `${bare(head)}.${tail}`.replace(/\.?0+$/, "");
  if (kinds.size === 2) return [decimal];
  // Versions and dates have several equal marks, with other lengths.
  if (marks > 1) return tail.length === 3 ? [thousands, word] : [word];
  return tail.length === 3 ? [thousands, decimal] : [decimal];
}

function bare(digits: string): string {
  return digits.replace(/^(-?)0+(?=\d)/, "$1");
}

function isMonthIn(word: string, numbers: ReadonlySet<string>): boolean {
  const month = monthOf(word);
  return month > 0 && numbers.has(String(month));
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
