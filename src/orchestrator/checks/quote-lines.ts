/** Which lines of the files have which words, numbers and dates, and how they are shown. Pure. */
import { wordsOf } from "./quote-search.ts";
import { datesOf, hasNumber, numbersOf } from "./values.ts";
import { jsonIn, getOrInsert } from "../util/values.ts";
import { months } from "./notation-words.ts";

/** What is shown of all lines behind a statement. */
const shownCharacters = 160;
/** Longer lines are compared in pieces. */
const pieceCharacters = 400;
/** Endings of words differ: their beginnings are compared. */
const beginning = 5;
/** A key of more pieces tells nothing. */
const mostPieces = 2_000;

const noDates: ReturnType<typeof datesOf> = { dates: [], parts: new Set(), years: [] };

/** A line of a file, or a piece of a long one. */
interface Piece {
  readonly file: number;
  /** From 1. */
  readonly line: number;
  readonly text: string;
}

/** Finds lines by their keys: one pass over the files for all keys that are wanted. */
export class Lines {
  readonly #texts: readonly string[];
  /** File, line, begin and end of each piece. */
  readonly #pieces: number[] = [];
  /** The first piece of each line, by file. */
  readonly #lines: number[][] = [];
  readonly #found = new Map<string, number[]>();

  constructor(texts: readonly string[], wanted: ReadonlySet<string>) {
    this.#texts = texts;
    for (const key of wanted) this.#found.set(key, []);
    const known = new Map<string, readonly string[]>();
    const wantedOf = (word: string): readonly string[] => {
      return getOrInsert(known, word, () => keysOfWord(word).filter((key) => wanted.has(key)));
    };
    for (const [file, text] of texts.entries()) {
      for (const { line, from, to } of piecesOf(text)) {
        const piece = this.#pieces.length / 4;
        this.#pieces.push(file, line, from, to);
        (this.#lines[file] ??= [])[line] ??= piece;
        const own = cellsOf(text.slice(from, to));
        const words = wordsOf(own);
        const { dates, parts, years } = words.some(hasNumber) ? datesOf(words) : noDates;
        for (const [at, word] of words.entries()) {
          for (const key of wantedOf(word)) if (!(parts.has(at) && key.startsWith("#"))) this.#add(key, piece);
        }
        for (const word of humpsOf(own)) for (const key of wantedOf(word)) this.#add(key, piece);
        for (const key of [...dates.map((date) => `@${date}`), ...years.map((year) => `#${year}`)])
          this.#add(key, piece);
      }
    }
  }

  #add(key: string, piece: number): void {
    const pieces = this.#found.get(key);
    if (pieces !== undefined && pieces.at(-1) !== piece && pieces.length < mostPieces) pieces.push(piece);
  }

  /** The pieces with a key. */
  with(key: string): readonly number[] {
    return this.#found.get(key) ?? [];
  }

  /** What a key tells: more if it is rare. */
  weight(key: string): number {
    return Math.log((this.#pieces.length / 4 + 1) / Math.max(1, this.with(key).length));
  }

  /** The pieces of these lines. */
  within({ text, line, endLine }: { readonly text: number; readonly line: number; readonly endLine: number }) {
    const [first = 0, end] = [this.#lines[text]?.[line], this.#lines[text]?.[endLine + 1]];
    const own: number[] = [];
    for (let at = first; at !== end && this.#pieces[at * 4] === text; at += 1) own.push(at);
    return own;
  }

  textOf(pieces: readonly number[]): string {
    return pieces.map((at) => this.#piece(at).text).join("\n");
  }

  #piece(at: number): Piece {
    const [file = 0, line = 0, from = 0, to = 0] = this.#pieces.slice(at * 4, at * 4 + 4);
    return { file, line, text: (this.#texts[file] ?? "").slice(from, to) };
  }

  /** Where pieces stand, and what there is about these keys. Neighbours are shown as one. */
  show(paths: readonly string[], pieces: readonly number[], keys: ReadonlySet<string>) {
    const groups: (Piece & { readonly last: number; readonly end: number })[] = [];
    for (const at of pieces) {
      const [piece, before] = [this.#piece(at), groups.at(-1)];
      if (before === undefined || before.last !== at - 1 || before.file !== piece.file)
        groups.push({ ...piece, last: at, end: piece.line });
      else groups.splice(-1, 1, { ...before, text: `${before.text} ${piece.text}`, last: at, end: piece.line });
    }
    const lines = ({ line, end }: (typeof groups)[number]): string => (line === end ? `${line}` : `${line}-${end}`);
    const width = Math.floor((shownCharacters - 3 * (groups.length - 1)) / groups.length);
    return {
      where: [...new Set(groups.map((group) => `${paths[group.file] ?? ""}:${lines(group)}`))].join(", "),
      line: groups.map(({ text }) => excerpt(text, keys, width)).join(" | "),
    };
  }
}

/** What texts are compared by: `=word`, `~begin` of a word, `#3.5` of a number and `@4 30` of a date in any notation. */
export function keysOf(text: string): readonly string[] {
  const words = wordsOf(text);
  const { dates, parts, years } = datesOf(words);
  const own = words.flatMap((word, at) => keysOfWord(word).filter((key) => !(parts.has(at) && key.startsWith("#"))));
  const numbers = [...years.map((year) => `#${year}`), ...dates.map((date) => `@${date}`)];
  return [...own, ...humpsOf(text).flatMap(keysOfWord), ...numbers];
}

function keysOfWord(word: string): readonly string[] {
  const parts = word.split("_").filter((part) => part.length > 2 && !hasNumber(part) && !articles.has(part));
  const numbers = numbersOf(word).map((number) => `#${number}`);
  return [`=${word}`, ...parts.map((part) => `~${part.slice(0, beginning)}`), ...numbers];
}

/** Short words that most lines have; of longer ones the number of lines tells. */
const articles = new Set(
  "the and for was are not has der die das und ist ein les des une est los las del una che con non".split(" "),
);

/** The parts of `camelCase`. */
function humpsOf(text: string): readonly string[] {
  return /\p{Ll}\p{Lu}/u.test(text) ? wordsOf(text.replaceAll(/(\p{Ll})(\p{Lu})/gu, "$1 $2")) : [];
}

/** In a line of comma-separated values no comma belongs to a number. */
function cellsOf(line: string): string {
  const commas = line.replaceAll(/(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])/g, "").match(/,(?=\S)/g) ?? [];
  return commas.length < 2 ? line : line.replaceAll(",", ", ");
}

/** Lines without their ends; long ones are cut at spaces. */
function* piecesOf(text: string): Generator<{ readonly line: number; readonly from: number; readonly to: number }> {
  const ends = /\r\n|\r|\n|$/g;
  for (let [from, line] = [0, 1]; from <= text.length; line += 1) {
    ends.lastIndex = from;
    const end = ends.exec(text);
    const to = end?.index ?? text.length;
    let at = from;
    for (; to - at > pieceCharacters;) {
      const most = text.slice(at, at + pieceCharacters);
      // At the end of a sentence, else at a space.
      const length = most.lastIndexOf(". ") + 1 || most.lastIndexOf(" ") + 1 || pieceCharacters;
      yield { line, from: at, to: at + length };
      at += length;
    }
    yield { line, from: at, to };
    if (to >= text.length) return;
    from = to + (end?.[0].length ?? 1);
  }
}

/** A text within `width`: the part that has most of the keys. */
function excerpt(text: string, keys: ReadonlySet<string>, width: number): string {
  const plain = text.replaceAll(/\s+/g, " ").trim();
  if (plain.length <= width) return plain;
  const hits = Array.from(plain.matchAll(/\S+/g), (match) => {
    const own = keysOf(match[0]).filter((key) => keys.has(key));
    return { from: match.index, to: match.index + match[0].length, weight: own.length };
  });
  let best = { from: 0, to: 0, weight: 0 };
  for (let [first, last, weight] = [0, 0, 0]; last < hits.length; last += 1) {
    weight += hits[last]?.weight ?? 0;
    const [to, isHit] = [hits[last]?.to ?? 0, (hits[last]?.weight ?? 0) > 0];
    while (first < last && ((hits[first]?.weight ?? 0) === 0 || to - (hits[first]?.from ?? 0) > width - 2)) {
      weight -= hits[first]?.weight ?? 0;
      first += 1;
    }
    if (isHit && weight > best.weight) best = { from: hits[first]?.from ?? 0, to, weight };
  }
  // The rest of the room is for what stands around it.
  const least = Math.max(0, Math.min(plain.length - width, best.from - Math.max(0, width - best.to + best.from) / 2));
  const from = hits.find((hit) => hit.from >= least)?.from ?? 0;
  const to = hits.findLast((hit) => hit.to - from <= width - 2 && hit.from >= from)?.to ?? from + width - 2;
  return `${from > 0 ? "…" : ""}${plain.slice(from, to)}${to < plain.length ? "…" : ""}`;
}

/** Takes answers apart into statements and their quotes. Lenient, because small models break every form. */
interface Statement {
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
  const value = /^[{[]/.test(inner) ? jsonIn(inner) : undefined;
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
