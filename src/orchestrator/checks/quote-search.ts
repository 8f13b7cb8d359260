import { getOrInsert } from "../util/values.ts";
/** Finds quotes in files: one pass over the files for all quotes together, linear also for hostile texts and quotes. */

/** Lines of a file that a quote covers, from 1. */
interface QuotePlace {
  /** Index of the text. */
  readonly text: number;
  readonly line: number;
  readonly endLine: number;
}

/** Places that are reported per quote. */
const maxPlaces = 16;

/** Texts are folded in pieces of this many characters, so that copies stay small. */
const chunkCharacters = 32_768;

const [ignored, letter, digit, joiner, sign, symbol, lineFeed, carriageReturn, single] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
/** Symbols that change a meaning. All others, also quotation marks, brackets and marks of Markdown, are ignored. */
const symbols = new Set("<>=!+%&^$€£¥±×÷°§");
/** Between two digits they belong to a number: a quote of `3` is not found in `3.5`. */
const joiners = new Set(".,:/");
/** Characters of scripts that put no spaces between words are words of their own. */
const unspaced = /[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmr}\p{sc=Mymr}\p{Cs}]/u;
const wordCharacter = /[\p{L}\p{M}\p{N}_]/u;

/** Kind + 1 of each UTF-16 code unit, filled as needed. */
const kinds = new Uint8Array(65_536);

function kindOf(code: number): number {
  const known = kinds[code] ?? 0;
  if (known > 0) return known - 1;
  const kind = classify(String.fromCharCode(code));
  kinds[code] = kind + 1;
  return kind;
}

function classify(character: string): number {
  if (character === "\n") return lineFeed;
  if (character === "\r") return carriageReturn;
  if (character === "-") return sign;
  if (joiners.has(character)) return joiner;
  if (symbols.has(character)) return symbol;
  if (unspaced.test(character)) return single;
  if (/\p{Nd}/u.test(character)) return digit;
  return wordCharacter.test(character) ? letter : ignored;
}

const plainAscii = /^[\0-\x7f]*$/;
/** Among them soft hyphens, zero-width and direction marks, variation selectors, the byte order mark. */
const invisible = /\p{Default_Ignorable_Code_Point}/gu;
const dashes = /[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]/g;
/** Normalization takes quadratic time for long runs of combining marks, which no real text has. */
const stackedMarks = /\p{M}{32}/u;

/** Equal for texts that differ in case, typography or Unicode form. Line ends remain. */
function fold(text: string): string {
  if (plainAscii.test(text)) return text.toLowerCase();
  const visible = text.replaceAll(invisible, "").replaceAll(dashes, "-");
  const normal = stackedMarks.test(visible) ? visible : visible.normalize("NFKC");
  // By way of upper case, so that ß equals ss, and ς equals σ.
  return normal.toUpperCase().toLowerCase().replaceAll(invisible, "").replaceAll("ς", "σ");
}

type Visit = (word: string, line: number) => void;

/** Calls `visit` for each word of a folded text; returns the number of the line after it. */
function scan(text: string, firstLine: number, visit: Visit): number {
  let line = firstLine;
  // Only spaces and marks of lists so far.
  let isLineStart = true;
  for (let at = 0; at < text.length;) {
    const kind = kindOf(text.charCodeAt(at));
    const from = at;
    at += 1;
    if (kind === lineFeed || (kind === carriageReturn && text.charCodeAt(at) !== 10)) {
      line += 1;
      isLineStart = true;
      continue;
    }
    const isNegative = kind === sign && kindOf(text.charCodeAt(at)) === digit && !isWordBefore(text, from);
    if (kind === symbol) {
      // Quotes (>) and lists (+) of Markdown.
      const isMark: boolean = isLineStart && (text[from] === ">" || text[from] === "+");
      if (!isMark) visit(text.slice(from, at), line);
      isLineStart &&= isMark;
    } else if (kind === single) {
      visit(text.slice(from, at), line);
      isLineStart = false;
    } else if (kind === letter || kind === digit || isNegative) {
      at = endOfWord(text, at);
      const word = trimmed(text, from, at);
      if (word !== "") visit(word, line);
      isLineStart = false;
    }
  }
  return line;
}

function isWordBefore(text: string, at: number): boolean {
  const kind = at === 0 ? ignored : kindOf(text.charCodeAt(at - 1));
  return kind === letter || kind === digit;
}

function endOfWord(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at += 1) {
    const kind = kindOf(text.charCodeAt(at));
    if (kind === letter || kind === digit) continue;
    const isInside =
      kind === joiner &&
      at + 1 < text.length &&
      kindOf(text.charCodeAt(at - 1)) === digit &&
      kindOf(text.charCodeAt(at + 1)) === digit;
    if (!isInside) break;
  }
  return at;
}

/** The word without underscores around it, which are marks of Markdown. */
function trimmed(text: string, from: number, to: number): string {
  let [start, end] = [from, to];
  while (start < end && text[start] === "_") start += 1;
  while (end > start && text[end - 1] === "_") end -= 1;
  return text.slice(start, end);
}

/** The folded words of a text, in order: what quotes are compared by. */
export function wordsOf(text: string): readonly string[] {
  const words: string[] = [];
  for (const [from, to] of chunks(text)) scan(fold(text.slice(from, to)), 1, (word) => void words.push(word));
  return words;
}

/** Pieces that end at a line's end where possible, else at a space. */
function* chunks(text: string): Generator<readonly [from: number, to: number]> {
  for (let from = 0; from < text.length;) {
    const to = endOfChunk(text, from);
    yield [from, to];
    from = to;
  }
}

function endOfChunk(text: string, from: number): number {
  const most = from + chunkCharacters;
  if (most >= text.length) return text.length;
  for (let at = most; at > from; at -= 1) if (text.charCodeAt(at - 1) === 10) return at;
  for (let at = most; at > most - 1_024; at -= 1) if (text.charCodeAt(at - 1) === 32) return at;
  // Neither a pair of surrogates nor a line end is cut in two.
  const code = text.charCodeAt(most);
  return code === 10 || (code >= 0xdc00 && code < 0xe000) ? most + 1 : most;
}

/** `start … end`: pieces that have to occur in this order. */
const ellipsis = /\[(?:\.{3}|…)\]|\((?:\.{3}|…)\)|\.{3,}|…/;
const maxPieces = 8;
/** Quotes beyond these are looked for as a whole only. */
const maxPieced = 64;

/** A sequence of words that is looked for. */
interface Pattern {
  readonly words: number;
  readonly places: QuotePlace[];
  /** It is a piece of a quote, which may need it in each text. */
  isPiece: boolean;
  /** Quotes whose next piece it is, in the present text. */
  waiting: Pieces[];
}

interface Pieces {
  readonly patterns: readonly Pattern[];
  readonly places: QuotePlace[];
  /** Pieces found in the present text, and the number of words before the end of the last one. */
  found: number;
  endedAt: number;
  line: number;
}

interface Node {
  fail: number;
  /** The longest suffix that is a pattern. */
  output: number;
  pattern: Pattern | undefined;
  readonly children: { readonly id: number; readonly node: number }[];
}

const newNode = (): Node => ({ fail: 0, output: 0, pattern: undefined, children: [] });
/** Keys of children: more words than an answer can have. */
const maxWords = 2 ** 26;

/** Finds sequences of words in texts, all at once (Aho and Corasick). Nodes are numbers; 0 is the root. */
class Search {
  readonly #ids = new Map<string, number>();
  readonly #children = new Map<number, number>();
  readonly #nodes: Node[] = [newNode()];
  readonly #patterns: Pattern[] = [];
  #longest = 1;
  /** Lines of the latest words, their number, and the index of the present text. */
  #lines = new Uint32Array(1);
  #count = 0;
  #text = 0;
  steps = 0;

  pattern(words: readonly string[], isPiece: boolean): Pattern {
    let node = 0;
    for (const word of words) {
      const id = getOrInsert(this.#ids, word, () => this.#ids.size);
      node = this.#children.get(node * maxWords + id) ?? this.#addChild(node, id);
    }
    this.#longest = Math.max(this.#longest, words.length);
    const entry = this.#node(node);
    entry.pattern ??= { words: words.length, places: [], isPiece: false, waiting: [] };
    entry.pattern.isPiece ||= isPiece;
    this.#patterns.push(entry.pattern);
    return entry.pattern;
  }

  #addChild(parent: number, id: number): number {
    const node = this.#nodes.push(newNode()) - 1;
    this.#children.set(parent * maxWords + id, node);
    this.#node(parent).children.push({ id, node });
    return node;
  }

  #node(index: number): Node {
    const node = this.#nodes[index];
    if (node === undefined) throw new RangeError(`no node ${index}`);
    return node;
  }

  /** Links each node to the longest suffix of its words that is a node, too. Called once, after the last pattern. */
  link(): void {
    this.#lines = new Uint32Array(this.#longest);
    const order = [0];
    for (const parent of order) {
      const { children, fail } = this.#node(parent);
      for (const { id, node } of children) {
        const entry = this.#node(node);
        entry.fail = parent === 0 ? 0 : this.#follow(fail, id);
        const suffix = this.#node(entry.fail);
        entry.output = suffix.pattern === undefined ? suffix.output : entry.fail;
        order.push(node);
      }
    }
  }

  #follow(from: number, id: number): number {
    for (let node = from; ; node = this.#node(node).fail) {
      this.steps += 1;
      const child = this.#children.get(node * maxWords + id);
      if (child !== undefined) return child;
      if (node === 0) return 0;
    }
  }

  read(text: string, index: number): void {
    this.#text = index;
    this.#count = 0;
    let [node, line] = [0, 1];
    const visit: Visit = (word, at) => {
      this.steps += 1;
      this.#lines[this.#count % this.#lines.length] = at;
      this.#count += 1;
      const id = this.#ids.get(word);
      node = id === undefined ? 0 : this.#follow(node, id);
      if (node !== 0) this.#report(node);
    };
    for (const [from, to] of chunks(text)) line = scan(fold(text.slice(from, to)), line, visit);
    for (const pattern of this.#patterns) pattern.waiting = [];
  }

  /** Reports the patterns that end here. Those that need no more places leave the chain, so that it stays short. */
  #report(end: number): void {
    let previous: Node | undefined;
    for (let at = this.#node(end).pattern === undefined ? this.#node(end).output : end; at !== 0;) {
      this.steps += 1;
      const node = this.#node(at);
      at = node.output;
      const { pattern } = node;
      if (pattern === undefined) continue;
      const { places, waiting, words } = pattern;
      if (places.length < maxPlaces) places.push(this.#place(this.#lines[(this.#count - words) % this.#lines.length]));
      pattern.waiting = [];
      for (const pieces of waiting) this.#advance(pieces, pattern);
      if (previous !== undefined && !pattern.isPiece && places.length >= maxPlaces) previous.output = at;
      else previous = node;
    }
  }

  #place(line = 1): QuotePlace {
    return { text: this.#text, line, endLine: this.#lines[(this.#count - 1) % this.#lines.length] ?? line };
  }

  #advance(pieces: Pieces, pattern: Pattern): void {
    this.steps += 1;
    // It overlaps the piece before, which a later one need not.
    if (this.#count - pattern.words < pieces.endedAt) return void pattern.waiting.push(pieces);
    if (pieces.found === 0) pieces.line = this.#lines[(this.#count - pattern.words) % this.#lines.length] ?? 1;
    pieces.found += 1;
    pieces.endedAt = this.#count;
    const next = pieces.patterns[pieces.found];
    if (next !== undefined) next.waiting.push(pieces);
    else if (pieces.places.length < maxPlaces) pieces.places.push(this.#place(pieces.line));
  }
}

/** The first places of each quote, and the steps that finding them took. */
export function findQuotes(
  texts: readonly string[],
  quotes: readonly string[],
): { readonly places: readonly (readonly QuotePlace[])[]; readonly steps: number } {
  const search = new Search();
  const pieced: Pieces[] = [];
  const found = quotes.map((quote) => {
    const words = wordsOf(quote);
    if (words.length === 0) return [[]];
    const whole = search.pattern(words, false).places;
    const pieces = quote
      .split(ellipsis)
      .map(wordsOf)
      .filter((piece) => piece.length > 0);
    // A single word after an ellipsis would be found somewhere in most texts.
    const isCut = pieces.length > 1 && pieces.length <= maxPieces && pieces.every(({ length }) => length > 1);
    if (!isCut || pieced.length >= maxPieced) return [whole];
    const patterns = pieces.map((piece) => search.pattern(piece, true));
    const own: Pieces = { patterns, places: [], found: 0, endedAt: 0, line: 1 };
    pieced.push(own);
    return [whole, own.places];
  });
  search.link();
  for (const [index, text] of texts.entries()) {
    for (const pieces of pieced) {
      Object.assign(pieces, { found: 0, endedAt: 0 });
      pieces.patterns[0]?.waiting.push(pieces);
    }
    search.read(text, index);
  }
  return { places: found.map((lists) => lists.flat()), steps: search.steps };
}
