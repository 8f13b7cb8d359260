/** Which lines of the files have which words, numbers and dates, and how they are shown. Pure. */
import { wordsOf } from "./quote-search.ts";
import { datesOf, hasNumber, numbersOf } from "./values.ts";

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
      const keys = known.get(word) ?? keysOfWord(word).filter((key) => wanted.has(key));
      known.set(word, keys);
      return keys;
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
  within({
    text,
    line,
    endLine,
  }: {
    readonly text: number;
    readonly line: number;
    readonly endLine: number;
  }): readonly number[] {
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
  show(
    paths: readonly string[],
    pieces: readonly number[],
    keys: ReadonlySet<string>,
  ): { readonly where: string; readonly line: string } {
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
