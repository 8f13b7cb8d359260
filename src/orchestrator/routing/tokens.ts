/** Classes of UTF-16 units with the same cost. */
const kinds = {
  lower: 0,
  upper: 1,
  space: 2,
  newline: 3,
  sign: 4,
  digit: 5,
  accented: 6,
  cyrillic: 7,
  alphabet: 8,
  han: 9,
  script: 10,
  symbol: 11,
} as const;

/** Tokens per unit, by kind; the first five kinds are counted by runs. */
const unitCosts = [0, 0, 0, 0, 0, 1, 2, 0.5, 0.8, 1.2, 1, 1.5];

/** The kind of each ASCII character. */
const asciiKinds = Uint8Array.from({ length: 0x80 }, (_unused, code) => asciiKindOf(code));

/** A longer text is estimated by this many characters of it, in stretches that are spread evenly. */
const examinedCharacters = 262_144;
const stretchCharacters = 1_024;

/**
 * Estimated tokens of `text` for a model without an available tokenizer; rather too many than too few.
 *
 * A text of more than 262,144 characters is sampled, so that a megabyte takes as long as a quarter of it: a daemon does
 * nothing else meanwhile. For documents and program text the sample is within 3 % of the whole, a tenth of what the
 * estimate itself may be off. Counts the pieces into which byte-pair tokenizers split a text
 * before merging (words, digits, runs of spaces and signs), each with its cost in vocabularies of 32k to 256k tokens.
 *
 * Compared with o200k, the largest vocabulary in wide use: prose in Latin letters +5…+50 %, program text and JSON +20…+50 %,
 * other scripts +10…+200 % (older vocabularies spend a token a letter there), digits +50…+200 % (o200k joins three,
 * Qwen, Gemma and Mistral none), random letters ±20 %. Compared with the 100k vocabulary of Llama 3 and Qwen: −25…+60 %, the
 * lowest for Greek.
 */
export function estimateTokens(text: string): number {
  if (text.length <= examinedCharacters) return Math.ceil(tokensOf(text));
  const stretches = examinedCharacters / stretchCharacters;
  const distance = (text.length - stretchCharacters) / (stretches - 1);
  let tokens = 0;
  for (let stretch = 0; stretch < stretches; stretch += 1) {
    const start = Math.round(stretch * distance);
    tokens += tokensOf(text.slice(start, start + stretchCharacters));
  }
  return Math.ceil((tokens * text.length) / examinedCharacters);
}

function tokensOf(text: string): number {
  const { length } = text;
  let tokens = 0;
  let index = 0;
  while (index < length) {
    const first = text.charCodeAt(index);
    const kind = asciiKinds[first] ?? wideKindOf(first);
    let end = index + 1;
    if (kind <= kinds.upper) {
      // Most words are lower case after their first letter, and cost no second look. By the table, without calls: a
      // daemon does nothing else while it estimates.
      while (end < length && asciiKinds[text.charCodeAt(end)] === kinds.lower) end += 1;
      if (end < length && asciiKinds[text.charCodeAt(end)] === kinds.upper) {
        while (end < length && (asciiKinds[text.charCodeAt(end)] ?? kinds.symbol) <= kinds.upper) end += 1;
        tokens += wordCost(text, index, end);
      } else tokens += end - index > 6 ? 1 + (end - index - 6) / 4 : 1;
      index = end;
      continue;
    }
    // Only repeated signs merge (`-----`); `);` seldom does.
    if (kind === kinds.sign) while (end < length && text.charCodeAt(end) === first) end += 1;
    else while (end < length && kindOf(text.charCodeAt(end)) === kind) end += 1;
    tokens += runCost(kind, end - index, end === length);
    index = end;
  }
  return tokens;
}

/** A lower bound of the actual tokens: a prompt is refused by estimate only if even these don't fit. */
export function sureTokens(estimated: number): number {
  return Math.floor(estimated / 2);
}

/** Whether the prompt must be counted to know if it fits: estimates are up to a quarter too low or twice too high. */
export function needsCount(estimated: number, windowTokens: number): boolean {
  return estimated * 1.5 >= windowTokens && sureTokens(estimated) < windowTokens;
}

function runCost(kind: number, length: number, isLast: boolean): number {
  // A single space is part of the next word.
  if (kind === kinds.space) return length === 1 && !isLast ? 0 : 1 + (length - 1) / 16;
  if (kind === kinds.newline) return 1 + (length - 1) / 2;
  if (kind === kinds.sign) return 0.9 + (length - 1) / 4;
  return length * (unitCosts[kind] ?? 1);
}

/** Short words are one token. Longer ones, capitals and every hump of `camelCase` cost more; base64 is all humps. */
function wordCost(text: string, start: number, end: number): number {
  let humps = 1;
  let wasCapital = isUpper(text, start);
  let capitals = wasCapital ? 1 : 0;
  for (let index = start + 1; index < end; index += 1) {
    const isCapital = isUpper(text, index);
    if (isCapital) capitals += 1;
    // A hump begins at a capital after a lower-case letter, and at the last of several capitals (`XMLHttp`).
    if (isCapital !== wasCapital && (isCapital || (index - 1 > start && isUpper(text, index - 2)))) humps += 1;
    wasCapital = isCapital;
  }
  const length = end - start;
  if (capitals === length) return Math.max(1, length / 2.5);
  if (length >= 5 && humps * 2.5 >= length) return length * 0.9;
  return humps + Math.max(0, length - 6 * humps) / 4;
}

function isLower(code: number): boolean {
  return code >= 97 && code <= 122;
}

function isLetter(code: number): boolean {
  return isLower(code) || (code >= 65 && code <= 90);
}

function isUpper(text: string, index: number): boolean {
  return text.charCodeAt(index) <= 90;
}

function kindOf(code: number): number {
  return code < 0x80 ? (asciiKinds[code] ?? kinds.sign) : wideKindOf(code);
}

function asciiKindOf(code: number): number {
  if (isLetter(code)) return isLower(code) ? kinds.lower : kinds.upper;
  if (code === 32 || code === 9) return kinds.space;
  if (code >= 48 && code <= 57) return kinds.digit;
  return code === 10 || code === 13 ? kinds.newline : kinds.sign;
}

function wideKindOf(code: number): number {
  if (code >= 0xc0 && code < 0x250) return kinds.accented;
  if (code >= 0x400 && code < 0x530) return kinds.cyrillic;
  // Greek, Armenian, Hebrew, Arabic.
  if (code >= 0x370 && code < 0x780) return kinds.alphabet;
  // Han, kana, hangul: about a token each.
  if ((code >= 0x3040 && code < 0xa000) || (code >= 0xac00 && code < 0xd800)) return kinds.han;
  // The scripts of South and Southeast Asia, Georgian, Ethiopic, ...
  if (code >= 0x780 && code < 0x2000) return kinds.script;
  // Emoji (two units each), typographic signs, private use.
  return kinds.symbol;
}
