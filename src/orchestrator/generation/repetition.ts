/** A block of text that repeats at the end of a text. */
export interface Repetition {
  /** Length of the block in characters. */
  readonly periodCharacters: number;
  /** The copies differ in their numbers or letters: `12. Again.`, `(b) Again.` */
  readonly isCounted: boolean;
}

/** The end of the text is examined each time it has grown by this many characters, some fifty tokens. */
const stride = 256;
/** How much of the end is examined. */
const windowCharacters = 8_192;
/** The longest block that is detected: three of them fit into the window. */
const longestPeriod = 2_048;

/**
 * How many copies of a block make a loop. Prose never repeats the same sentences; a table, a matrix of zeros or a test
 * file may, so their limits are far higher. `characters` counts all copies.
 *
 * | kind     | the block                                                        |
 * |----------|------------------------------------------------------------------|
 * | blank    | only blanks and line ends                                        |
 * | prose    | four different words or more, with spaces, few symbols           |
 * | phrase   | fewer words, with spaces, few symbols                            |
 * | records  | two different words or more among symbols: code, rows, objects   |
 * | rows     | other lines: numbers, rulers, drawings                           |
 * | run      | anything else in one line: `0, 0, 0`, base64                     |
 * | stutter  | few words in one line, eighty times or more: `the the the`       |
 * | signs    | emoji, or one sign, in one line                                  |
 */
const limits = {
  blank: { characters: 600, copies: 3 },
  prose: { characters: 1_200, copies: 3 },
  phrase: { characters: 1_600, copies: 3 },
  records: { characters: 2_400, copies: 6 },
  rows: { characters: 4_000, copies: 6 },
  run: { characters: 2_400, copies: 6 },
  stutter: { characters: 1_000, copies: 80 },
  emoji: { characters: 800, copies: 24 },
  signs: { characters: 800, copies: 800 },
  /** Blocks that count: `Step 12: repeat.`, and items of a numbered list, of which twenty may have been asked for. */
  counted: { characters: 1_600, copies: 8 },
  items: { characters: 1_300, copies: 4 },
  lettered: { characters: 1_100, copies: 12 },
  /** Lines of a program whose names alone count: `value12 = data.value12`. */
  names: { characters: 3_000, copies: 60 },
} as const;
const leastCharacters = Math.min(...Object.values(limits).map(({ characters }) => characters));
const leastCopies = 3;

/**
 * Watches a growing text for repetition. The result does not depend on how the text is split into pieces. The cost is
 * about seventy steps per character for any text: 8,192 characters are examined for every 256.
 */
export function watchRepetition() {
  /** Most answers are shorter than a stride. */
  let tails: { readonly plain: Tail; readonly counted: Tail } | undefined;
  let unseen = "";
  /** The beginning of a line, which may become the number or the letter of an item. */
  let held = "";
  let endsInDigit = false;

  function look(text: string): Repetition | undefined {
    const { plain, counted } = (tails ??= { plain: createTail(), counted: createTail() });
    const found = plain.add(text, (block) => limits[stutterOf(block) ?? kindOf(block)]);
    if (found !== undefined) return { periodCharacters: found, isCounted: false };
    const whole = held + text;
    const lineStart = whole.lastIndexOf("\n");
    const complete = lineStart >= 0 && whole.length - lineStart <= longestMarker ? lineStart : whole.length;
    held = whole.slice(complete);
    const counting = whole.slice(0, complete);
    // With `0` for every number, and one sign for every letter of an item.
    const digits = counting.replaceAll(marker, letter).replaceAll(/\d+/g, "0");
    const period = counted.add(endsInDigit && digits.startsWith("0") ? digits.slice(1) : digits, (block) =>
      limitOfCounting(block, plain.text),
    );
    if (counting !== "") endsInDigit = /\d$/.test(counting);
    return period === undefined ? undefined : { periodCharacters: period, isCounted: true };
  }

  return {
    /** Takes the next piece of a text. Returns the repetition, once there is one. */
    add(piece: string): Repetition | undefined {
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

type Tail = ReturnType<typeof createTail>;

interface Limit {
  readonly characters: number;
  readonly copies: number;
}

function createTail() {
  let tail = "";
  /** By period: how many characters at the end equal those one period earlier. */
  const same = new Int32Array(longestPeriod + 1);
  return {
    get text(): string {
      return tail;
    },
    /** The shortest period whose repetition at the end exceeds its limit. */
    add(text: string, limitOf: (block: string) => Limit | undefined): number | undefined {
      tail = (tail + text).slice(-windowCharacters);
      measure(tail, same);
      let longest = 0;
      for (let period = 1; period <= longestPeriod && period * leastCopies <= tail.length; period += 1) {
        const characters = (same[period] ?? 0) + period;
        // A multiple of an examined period has no more copied characters.
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

/** The letter or Roman numeral of an item: `(b)`, `XIV.`, `Option C:`. It begins a line. */
const marker =
  /(?:[IVXLC]+|[ivxlc]+|[a-z]{1,2}|[A-Z])(?=[.):])(?<=\n[ \t>*#-]{0,8}(?:[A-Za-z\u00c0-\u024f]{1,12} )?\(?[A-Za-z]{1,8})/g;
const longestMarker = 32;
const counterOrUnit = new RegExp(`(?<marker>${marker.source})|\\d+|\\D`, "gs");
/** Stands for a marker. */
const letter = "\u0001";

const wordPattern = /[\p{L}\p{M}]{2,}/gu;
/** Written without spaces: two of them count as a word. */
const ideographPattern = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/gu;
/** Rare in prose; a comma only where no space follows, a quotation mark only as in JSON. */
const symbolPattern = /[|{}[\]<>=\\;$@^~+&%()\d]|,(?=\S)|"(?=[:,}\]])/g;

/** A block whose copies in one line are a loop sooner. */
function stutterOf(block: string): "stutter" | "emoji" | "signs" | undefined {
  if (block.length > 32 || block.includes("\n")) return undefined;
  if (block.length === 1) return /[\p{P}\p{S}]/u.test(block) ? "signs" : undefined;
  const whole = /^[\udc00-\udfff]/.test(block) ? `${block.slice(1)}${block.slice(0, 1)}` : block;
  if (/^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\ufe0f|\u200d| )+$/u.test(whole) && block.trim() !== "")
    return "emoji";
  return /\p{L}{2}/u.test(block) && !/\d/.test(block) ? "stutter" : undefined;
}

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

/**
 * The limit for a block whose only counters are those of items, of a sentence or of names in a line of code; `text` still
 * has the numbers.
 */
function limitOfCounting(block: string, text: string): Limit | undefined {
  const numbers = block.match(/0/g)?.length ?? 0;
  const letters = block.split(letter).length - 1;
  if (numbers + letters === 0) return undefined;
  const kind = kindOf(block.replaceAll("0", "").replaceAll(letter, ""));
  if (kind !== "prose" && kind !== "phrase") {
    const names = `${block}${block}`.match(/[A-Za-z_]0/g)?.length ?? 0;
    const lines = block.match(/\n/g)?.length ?? 0;
    const isOfNames = lines === 1 && numbers >= 2 && names >= numbers * 2 - 1;
    return isOfNames && areCounters(text, numbers) ? limits.names : undefined;
  }
  // The block may begin anywhere in its item; two copies contain every line completely.
  const items = `${block}${block}`.match(/\n[ \t>*-]*0[.)] /g)?.length ?? 0;
  if (letters > 0) return numbers === 0 ? limits.lettered : undefined;
  if (items >= numbers * 2 - 1) return limits.items;
  if (new Set(block.match(wordPattern)).size < 6) return undefined;
  return numbers === 1 || (numbers === 2 && areCounters(text, numbers)) ? limits.counted : undefined;
}

/** Whether each of the numbers in a copy grows by the same amount from copy to copy: data don't. */
function areCounters(text: string, numbers: number): boolean {
  // The last copy may be incomplete.
  const values = (text.match(/\d+/g) ?? []).slice(-9 * numbers, -numbers).map(Number);
  const steps = values.slice(numbers).map((value, index) => value - (values[index] ?? 0));
  return steps.length > numbers && steps.every((step, index) => index < numbers || step === steps[index - numbers]);
}

/**
 * The text up to the point where it begins to repeat: with one copy of the block, up to the end of its sentence or line.
 * `copies` includes that copy.
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

/** Characters from `from` to the next end of a sentence or line within one period; 0 if there is none. */
function toBoundary(text: string, from: number, period: number): number {
  if (/(?:[.!?]["'”’)*_]*\s+|[。！？]|\n\s*)$/.test(text.slice(Math.max(0, from - 20), from))) return 0;
  const boundary = /[.!?]["'”’)*_]*(?=\s)|[。！？]|\n/.exec(text.slice(from, from + period));
  return boundary === null ? 0 : boundary.index + boundary[0].length;
}

/** `withoutCounters`, and the original position of each character. */
function numberless(text: string): { readonly characters: string; readonly positions: readonly number[] } {
  const positions: number[] = [];
  let characters = "";
  for (const { 0: part, index, groups } of text.matchAll(counterOrUnit)) {
    positions.push(index);
    characters += groups?.["marker"] === undefined ? (/^\d/.test(part) ? "0" : part) : letter;
  }
  return { characters, positions };
}
