/** Takes answers apart into statements and their quotes. Lenient, because small models break every form. */
import { parseJson } from "../util/parse-json.ts";
import { wordsOf } from "./quote-search.ts";
import { months } from "./notation-words.ts";

export interface Statement {
  readonly text: string;
  /** As the model gave them. */
  readonly quotes: readonly string[];
  /** A value of a JSON answer, which the text has with its name; empty for a boolean. */
  readonly value?: string;
}

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
export function statementsOf(answer: string): readonly Statement[] {
  const drafts = new Drafts();
  if (!addPairs(answer, drafts)) addLines(answer, drafts);
  const byWords = new Map(drafts.list.toReversed().map((draft) => [wordsOf(draft.text).join(" "), draft]));
  return [...byWords.values()].toReversed();
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
  /(?:^|[\s(])(?:\p{Lu}|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Nn]o|[Nn]r|[Ss]t|[Ss]ra?|[Ss]ig|l'ing|[Ii]ng|[Dd]ott|[Hh]r|[Mm]me|vs|[Aa]pprox|[Ii]nc|[Ll]td|[Cc]o|e\.g|i\.e)\.\s*$/u;
const segmenter = new Intl.Segmenter("en", { granularity: "sentence" });

function sentencesOf(line: string): readonly string[] {
  const sentences: string[] = [];
  let open = "";
  for (const { segment } of segmenter.segment(line)) {
    // `28. Februar` is one date.
    const isDate = /\d\.\s$/.test(sentences.at(-1) ?? "") && months.has(wordsOf(segment)[0] ?? "");
    open += isDate ? `${sentences.pop() ?? ""}${segment}` : segment;
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

/** Strings, numbers and booleans of a JSON answer with their names. */
export function valuesOf(answer: unknown): readonly Statement[] {
  const statements: Statement[] = [];
  const waiting: { readonly name: string; readonly value: unknown }[] = [{ name: "", value: answer }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { name, value } = next;
    if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value).toReversed();
      for (const [key, inner] of entries) waiting.push({ name: name === "" ? key : `${name}.${key}`, value: inner });
    } else if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      const shown = String(value);
      if (shown.trim() === "") continue;
      const text = name === "" ? shown : `${name}: ${shown}`;
      statements.push({ text, quotes: [], value: typeof value === "boolean" ? "" : shown });
    }
  }
  return statements;
}
