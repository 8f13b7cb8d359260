/** A text's end that says the same over and over. */
export interface Repetition {
  /** Length of the block that repeats, in characters. */
  readonly periodCharacters: number;
  /** The blocks differ in their numbers: `12. Again.`, `13. Again.` */
  readonly isCounted: boolean;
}

export interface RepetitionWatch {
  /** Takes the next piece of a text; what its end repeats, once it goes in circles. */
  add(piece: string): Repetition | undefined;
}

/** The text's end is looked at each time that it has grown by so much: some fifty tokens. In characters. */
const stride = 256;
/** So much of it. */
const windowCharacters = 8_192;
/** The longest block that is found: three of them fit into the window. */
const longestPeriod = 2_048;

/**
 * How much of a text has to be copies of one block before that is a loop. Prose never says the same sentences over and
 * over; a table, a matrix of zeros or a test file may, so they get far more room. `characters` counts all copies.
 *
 * | kind     | the block                                                        |
 * |----------|------------------------------------------------------------------|
 * | blank    | nothing but blanks and line ends                                 |
 * | prose    | four different words or more, with spaces, hardly a symbol       |
 * | phrase   | fewer words, with spaces, hardly a symbol                        |
 * | records  | two different words or more among symbols: code, rows, objects   |
 * | rows     | other lines: numbers, rulers, drawings                           |
 * | run      | anything else in one line: `0, 0, 0`, base64                     |
 */
const limits = {
  blank: { characters: 600, copies: 3 },
  prose: { characters: 1_200, copies: 3 },
  phrase: { characters: 1_600, copies: 3 },
  records: { characters: 2_400, copies: 6 },
  rows: { characters: 4_000, copies: 6 },
  run: { characters: 2_400, copies: 6 },
  /** Blocks that count: `Step 12: repeat.`, and items of a numbered list. */
  counted: { characters: 1_600, copies: 8 },
  items: { characters: 900, copies: 4 },
} as const;
const leastCharacters = Math.min(...Object.values(limits).map(({ characters }) => characters));
const leastCopies = 3;

/**
 * Watches a text that grows for the point where it goes in circles. The verdict doesn't depend on how the text is cut
 * into pieces. Costs about seventy steps per character in all, whatever the text: one look at 8,192 characters for every
 * 256.
 */
export function watchRepetition(): RepetitionWatch {
  const plain = createTail();
  const counted = createTail();
  let unseen = "";
  let endsInDigit = false;

  function look(text: string): Repetition | undefined {
    const found = plain.add(text, (block) => limits[kindOf(block)]);
    if (found !== undefined) return { periodCharacters: found, isCounted: false };
    const digits = withoutNumbers(text);
    const period = counted.add(endsInDigit && digits.startsWith("0") ? digits.slice(1) : digits, (block) =>
      limitOfCounting(block),
    );
    endsInDigit = /\d$/.test(text);
    return period === undefined ? undefined : { periodCharacters: period, isCounted: true };
  }

  return {
    add(piece) {
      let from = 0;
      while (unseen.length + piece.length - from >= stride) {
        const to = from + stride - unseen.length;
        const text = unseen + piece.slice(from, to);
        unseen = "";
        from = to;
        const found = look(text);
        if (found !== undefined) return found;
      }
      unseen += piece.slice(from);
      return undefined;
    },
  };
}

interface Limit {
  readonly characters: number;
  readonly copies: number;
}

function createTail() {
  let tail = "";
  /** By period: how many characters at the end are the same as those one period before. */
  const same = new Int32Array(longestPeriod + 1);
  return {
    /** The shortest period with which the end repeats itself beyond its limit. */
    add(text: string, limitOf: (block: string) => Limit | undefined): number | undefined {
      tail = (tail + text).slice(-windowCharacters);
      measure(tail, same);
      let longest = 0;
      for (let period = 1; period <= longestPeriod && period * leastCopies <= tail.length; period += 1) {
        const characters = (same[period] ?? 0) + period;
        // A multiple of a period that was looked at has the same copies, and no more.
        if (characters < leastCharacters || characters < period * leastCopies || characters <= longest) continue;
        longest = characters;
        const limit = limitOf(tail.slice(-period));
        if (limit !== undefined && characters >= limit.characters && characters >= period * limit.copies) return period;
      }
      return undefined;
    },
  };
}

/**
 * The Z function of the reversed text (Gusfield, "Algorithms on Strings, Trees, and Sequences", 1.4): `same[p]` is how far
 * the text and itself shifted by `p` agree, from their ends. Linear.
 */
function measure(text: string, same: Int32Array): void {
  const last = text.length - 1;
  const periods = Math.min(longestPeriod, last);
  same.fill(0);
  let left = 0;
  let right = 0;
  for (let period = 1; period <= periods; period += 1) {
    let length = period < right ? Math.min(right - period, same[period - left] ?? 0) : 0;
    while (period + length <= last && text.charCodeAt(last - length) === text.charCodeAt(last - period - length)) {
      length += 1;
    }
    same[period] = length;
    if (period + length > right) {
      left = period;
      right = period + length;
    }
  }
}

/** Every number is a `0`. */
function withoutNumbers(text: string): string {
  return text.replaceAll(/\d+/g, "0");
}

const wordPattern = /[\p{L}\p{M}]{2,}/gu;
/** Written without spaces: two of them count as a word. */
const ideographPattern = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/gu;
/** Rare in prose; a comma only where no space follows, a quotation mark only as in JSON. */
const symbolPattern = /[|{}[\]<>=\\;$@^~+&%()\d]|,(?=\S)|"(?=[:,}\]])/g;

function kindOf(block: string): keyof typeof limits {
  if (block.trim() === "") return "blank";
  const ideographs = new Set(block.match(ideographPattern)).size;
  const words = new Set(block.match(wordPattern)).size + ideographs / 2;
  const hasSpaces = /\s/.test(block) || ideographs > 0;
  const isText = hasSpaces && (block.match(symbolPattern)?.length ?? 0) <= block.length / 20;
  if (isText && words >= 4) return "prose";
  if (isText && words >= 1) return "phrase";
  if (words >= 2) return "records";
  return block.includes("\n") ? "rows" : "run";
}

/** For a block without numbers whose only ones are those of list items, or for a sentence with a single one. */
function limitOfCounting(block: string): Limit | undefined {
  const numbers = block.match(/0/g)?.length ?? 0;
  if (numbers === 0) return undefined;
  // The block may begin anywhere in its item: twice the block has each of its lines whole.
  const items = `${block}${block}`.match(/\n[ \t>*-]*0[.)] /g)?.length ?? 0;
  const kind = kindOf(block.replaceAll("0", ""));
  if (kind !== "prose" && kind !== "phrase") return undefined;
  if (items >= numbers * 2 - 1) return limits.items;
  return numbers === 1 && new Set(block.match(wordPattern)).size >= 6 ? limits.counted : undefined;
}

/**
 * The text up to where it began to repeat itself: with the block once, up to the end of its sentence or line. `copies`
 * counts that one.
 */
export function withoutRepetition(
  text: string,
  { periodCharacters, isCounted }: Repetition,
): { readonly text: string; readonly copies: number } {
  const { characters, positions } = isCounted ? numberless(text) : { characters: text, positions: undefined };
  let repeatedFrom = characters.length;
  while (
    repeatedFrom > periodCharacters &&
    characters.charCodeAt(repeatedFrom - 1) === characters.charCodeAt(repeatedFrom - 1 - periodCharacters)
  ) {
    repeatedFrom -= 1;
  }
  const copies = Math.floor((characters.length - repeatedFrom) / periodCharacters) + 1;
  const end = repeatedFrom + toBoundary(characters, repeatedFrom, periodCharacters);
  return { text: text.slice(0, positions === undefined ? end : (positions[end] ?? text.length)).trimEnd(), copies };
}

/** Characters from there to the next end of a sentence or line within one period; 0 where there is none. */
function toBoundary(text: string, from: number, period: number): number {
  if (/(?:[.!?]["'”’)*_]*\s+|[。！？]|\n\s*)$/.test(text.slice(Math.max(0, from - 20), from))) return 0;
  const boundary = /[.!?]["'”’)*_]*(?=\s)|[。！？]|\n/.exec(text.slice(from, from + period));
  return boundary === null ? 0 : boundary.index + boundary[0].length;
}

/** The text with a `0` for every number, and where each of its characters stood. */
function numberless(text: string): { readonly characters: string; readonly positions: readonly number[] } {
  const positions: number[] = [];
  let characters = "";
  for (const { 0: part, index } of text.matchAll(/\d+|\D/gs)) {
    positions.push(index);
    characters += /^\d/.test(part) ? "0" : part;
  }
  return { characters, positions };
}
