/** Takes answers apart into statements and their quotes. Lenient, because small models break every form. */
import { parseJson } from "../util/parse-json.ts";
import { wordsOf } from "./quote-search.ts";
import { formsOf, numberWords } from "./values.ts";

export interface Statement {
  readonly text: string;
  /** As the model gave them. */
  readonly quotes: readonly string[];
  /** What else would prove it: the words that it adds to the question. */
  readonly spans: readonly string[];
  /** It says that the files don't tell. */
  readonly isAbsence: boolean;
  /** A value of a JSON answer: it has a name in place of a sentence. */
  readonly isValue: boolean;
  /** The name of a value, and the texts beside it. */
  readonly about: string;
}

/** Spans per statement, longest first. */
const maxSpans = 10;
/** Words of statements beyond these are not looked for. */
const maxSpanWords = 40;

const absence =
  /\b(?:(?:not|n't) (?:\w+ )?(?:stated?|mention(?:ed)?|given?|specif(?:y|ied)|provided?|include[ds]?|found|contain|available|say|tell|listed|known)|no (?:information|mention|such)|unknown|cannot (?:be )?(?:find|found|determined?)|no(?: \w+){1,4} (?:is|are|was|were))\b/i;

const label =
  /^(?:[-*•]\s{1,4})?\*{0,2}(statement|answer|claim|fact|quote|quotes|quotation|evidence|source|proof)\*{0,2}\s{0,3}\d{0,3}\*{0,2}\s{0,3}:\*{0,2}/i;
const quoteLabels: ReadonlySet<string> = new Set(["quote", "quotes", "quotation", "evidence", "source", "proof"]);
/** Numbers and marks of lists, and of headings. */
const listMark = /^(?:[-*•+]\s+|\d{1,3}[.)]\s+|#{1,6}\s+)/;
const closings: Readonly<Record<string, string>> = { '"': '"', "“": "”", "„": "“", "«": "»" };

interface Draft {
  text: string;
  readonly quotes: string[];
}

/** Collects statements and the quotes beside them. */
class Drafts {
  readonly list: Draft[] = [];
  /** Quotes that precede their statement. */
  #early: string[] = [];
  /** Ends with a colon or is a question: a statement only if a quote follows. */
  #opening: Draft | undefined;
  #quotesFirst: boolean | undefined;

  statement(text: string, quotes: readonly string[] = []): void {
    const draft = { text: text.trim(), quotes: [...this.#early, ...quotes] };
    this.#early = [];
    this.#opening = undefined;
    this.#quotesFirst ??= draft.quotes.length > quotes.length;
    if (wordsOf(draft.text).length === 0) return void this.#early.push(...draft.quotes);
    if (/[:?][\s"”*_)]*$/.test(draft.text) && draft.quotes.length === 0) this.#opening = draft;
    else this.list.push(draft);
  }

  quote(text: string): void {
    const quote = text.trim();
    if (wordsOf(quote).length === 0) return;
    if (this.#opening !== undefined) {
      this.list.push({ ...this.#opening, text: `${this.#opening.text} ${quote}` });
      this.#opening = undefined;
    }
    const last = this.list.at(-1);
    if (last === undefined || this.#quotesFirst === true) this.#early.push(quote);
    else last.quotes.push(quote);
  }
}

/** The statements of a text answer, each once. */
export function statementsOf(answer: string, questionWords: ReadonlySet<string>): readonly Statement[] {
  const drafts = new Drafts();
  if (!addPairs(answer, drafts)) addLines(answer, drafts);
  const seen = new Set<string>();
  return drafts.list.flatMap(({ text, quotes }) => {
    const key = wordsOf(text).join(" ");
    if (seen.has(key)) return [];
    seen.add(key);
    return {
      text,
      quotes,
      spans: spansOf(text, questionWords),
      isAbsence: absence.test(text),
      isValue: false,
      about: "",
    };
  });
}

/** Pairs of JSON, where a model answers so unasked. */
function addPairs(answer: string, drafts: Drafts): boolean {
  const inner = answer
    .trim()
    .replace(/^```\w*\n/, "")
    .replace(/```$/, "")
    .trim();
  if (!inner.startsWith("{") && !inner.startsWith("[")) return false;
  let value: unknown;
  try {
    value = parseJson(inner);
  } catch {
    return false;
  }
  const before = drafts.list.length;
  const waiting = [value];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (Array.isArray(next)) for (const each of next.toReversed()) waiting.push(each);
    else if (typeof next === "object" && next !== null) {
      const fields = Object.entries(next).filter((entry): entry is [string, string] => typeof entry[1] === "string");
      const text = fields.find(([name]) => /statement|answer|claim|fact|text/i.test(name));
      if (text === undefined) for (const each of Object.values(next).toReversed()) waiting.push(each);
      else {
        const quotes = fields.filter((field) => field !== text && quoteLabels.has(field[0].toLowerCase()));
        drafts.statement(
          text[1],
          quotes.map(([, quote]) => quote),
        );
      }
    }
  }
  return drafts.list.length > before;
}

function addLines(answer: string, drafts: Drafts): void {
  let isFenced = false;
  for (const whole of answer.split("\n")) {
    const line = whole.trim();
    if (line.startsWith("```")) isFenced = !isFenced;
    else if (isFenced || line.startsWith(">")) drafts.quote(line.replace(/^>+\s*/, ""));
    else {
      const [marked, kind = ""] = label.exec(line) ?? [""];
      const rest = marked === "" ? line.replace(listMark, "") : line.slice(marked.length);
      if (quoteLabels.has(kind.toLowerCase())) drafts.quote(rest);
      else for (const sentence of sentencesOf(rest)) addSentence(sentence, drafts);
    }
  }
}

const abbreviation =
  /(?:^|[\s(])(?:\p{Lu}|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Nn]o|[Nn]r|[Ss]t|vs|[Aa]pprox|[Ii]nc|[Ll]td|[Cc]o|e\.g|i\.e)\.\s*$/u;
const segmenter = new Intl.Segmenter("en", { granularity: "sentence" });

function sentencesOf(line: string): readonly string[] {
  const sentences: string[] = [];
  let open = "";
  for (const { segment } of segmenter.segment(line)) {
    open += segment;
    if (abbreviation.test(open.slice(-12))) continue;
    sentences.push(open);
    open = "";
  }
  return open === "" ? sentences : [...sentences, open];
}

/** A sentence; what it has in quotation marks is a quote, and is no part of it if it stands behind it or alone. */
function addSentence(sentence: string, drafts: Drafts): void {
  const quotes: string[] = [];
  let textEnd = -1;
  let lastEnd = 0;
  for (let at = 0; at < sentence.length; at += 1) {
    const closing = closings[sentence[at] ?? ""];
    if (closing === undefined) continue;
    const end = sentence.indexOf(closing, at + 1);
    if (end < 0) break;
    quotes.push(sentence.slice(at + 1, end));
    // Only what follows a mark, not a word, is a quote behind the sentence: `is "x"` ends with a name.
    const before = sentence.slice(lastEnd, at).trimEnd();
    const isApart = before === "" || /[.:;,|([\-–—>]$/.test(before);
    textEnd = isApart ? (textEnd < 0 ? at : textEnd) : -1;
    at = end;
    lastEnd = end + 1;
  }
  const isBehind = textEnd >= 0 && wordsOf(sentence.slice(lastEnd)).length === 0;
  const text = isBehind ? withoutMarks(sentence.slice(0, textEnd)) : sentence;
  if (wordsOf(text).length > 0) drafts.statement(text, quotes);
  else for (const quote of quotes) drafts.quote(quote);
}

/** Marks that lead from a sentence to its quote. */
const leading = new Set(" \t([|-–—:;,");

function withoutMarks(text: string): string {
  let end = text.length;
  while (end > 0 && leading.has(text[end - 1] ?? "")) end -= 1;
  return text.slice(0, end);
}

/** Runs of words that the question lacks, in their own writing, longest first; and the statement itself. */
function spansOf(text: string, questionWords: ReadonlySet<string>): readonly string[] {
  const runs: string[][] = [[]];
  for (const piece of text.split(/\s+/).slice(0, maxSpanWords)) {
    const words = wordsOf(piece);
    const isNew = words.some((word) => !questionWords.has(word) && !stopWords.has(word));
    // `of` and its like connect words: `terms of use`.
    const connects = !isNew && words.every((word) => stopWords.has(word)) && (runs.at(-1)?.length ?? 0) > 0;
    if (isNew || connects) runs.at(-1)?.push(piece);
    else if ((runs.at(-1)?.length ?? 0) > 0) runs.push([]);
  }
  const isStop = (piece: string): boolean => wordsOf(piece).every((word) => stopWords.has(word));
  const spans = runs.flatMap((run) => {
    while (run.length > 0 && isStop(run.at(-1) ?? "")) run.pop();
    // A run may join what stands apart in the file: `part 37 of the upload`.
    const pieces = run.filter((piece) => !isStop(piece));
    return run.length === 0 ? [] : [run.join(" "), ...(pieces.length > 1 ? pieces : []), ...pieces.flatMap(otherForms)];
  });
  return [text, ...[...new Set(spans)].toSorted((one, other) => other.length - one.length)].slice(0, maxSpans);
}

/** A number or date of a sentence as files may write it. */
function otherForms(piece: string): readonly string[] {
  const [word = "", ...more] = wordsOf(piece);
  const at = numberWords.indexOf(word);
  if (at >= 0) return [String(at)];
  const bare = more.length === 2 ? [word, ...more].join("-") : word;
  return /\d/.test(bare) ? formsOf(bare.replaceAll(",", "")).slice(1) : [];
}

export const stopWords: ReadonlySet<string> = new Set(
  (
    "a an and are as at be been by can did do does for from had has have how i if in into is it its many may much must no not of on " +
    "or our out s shall should so such t than that the their them then there these they this those to was we were what " +
    "when where which who whom whose why will with would you your yes please"
  ).split(" "),
);

/** Texts beside a value that may relate it to a line. */
const maxSiblings = 8;

interface Leaf {
  readonly name: string;
  readonly value: unknown;
  readonly siblings: readonly string[];
}

/** Strings, numbers and booleans of a JSON answer with their names. */
export function valuesOf(answer: unknown): readonly Statement[] {
  const statements: Statement[] = [];
  const waiting: Leaf[] = [{ name: "", value: answer, siblings: [] }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { name, value, siblings } = next;
    if (typeof value === "object" && value !== null) for (const leaf of leavesOf(name, value)) waiting.push(leaf);
    else if (
      typeof value === "string" ? value.trim() !== "" : typeof value === "number" || typeof value === "boolean"
    ) {
      const shown = String(value);
      // A boolean is never literally in the files.
      const [quote, ...spans] = typeof value === "boolean" ? [] : formsOf(shown);
      const text = name === "" ? shown : `${name}: ${shown}`;
      const about = [name, ...siblings.filter((each) => each !== value)].join("\n");
      const quotes = quote === undefined ? [] : [quote];
      statements.push({ text, quotes, spans, isAbsence: false, isValue: true, about });
    }
  }
  return statements;
}

/** Last first. */
function leavesOf(name: string, value: object): readonly Leaf[] {
  const prefix = name === "" ? "" : `${name}.`;
  const entries = Object.entries(value) as [string, unknown][];
  const texts = Array.isArray(value) ? [] : entries.map(([, each]) => each);
  const siblings = texts.filter((each): each is string => typeof each === "string").slice(0, maxSiblings);
  return entries.map(([key, each]) => ({ name: `${prefix}${key}`, value: each, siblings })).toReversed();
}
