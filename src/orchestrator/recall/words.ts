import { editDistance } from "../util/nearest.ts";
const wordPattern = /[\p{L}\p{M}\p{N}]+/gu;
/** Scripts without spaces between words. */
const unspaced = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u;
const unspacedRun =
  /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}ー々]+|[^\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}ー々]+/gu;
const hump = /(?<=[\p{Ll}\p{N}])(?=\p{Lu})/u;
/** Longer runs of letters, such as base64, are cut. */
const maxWordLength = 64;

/**
 * Folds compatibility forms, case and Latin accents (`Ｃａｆé` → `cafe`). Other scripts keep their marks, which are letters
 * there.
 */
export function fold(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the fast path: ASCII needs no more.
  if (/^[\x00-\x7f]*$/.test(text)) return text.toLowerCase();
  return text
    .normalize("NFKD")
    .replaceAll(/[\u0300-\u036f]/g, "")
    .normalize("NFC")
    .toLowerCase();
}

/**
 * The folded words of a text, in order. The parts of `camelCase` are added to the whole word. Text without spaces between
 * words becomes letters and pairs of letters, as in Lucene's CJK analysis; a query needs only the pairs.
 */
export function wordsOf(text: string, side: "stored" | "asked" = "stored"): string[] {
  const words: string[] = [];
  for (const [found] of text.normalize("NFKC").matchAll(wordPattern)) {
    if (unspaced.test(found)) {
      for (const [run] of found.matchAll(unspacedRun)) {
        if (unspaced.test(run)) words.push(...pairs(run, side));
        else words.push(fold(run).slice(0, maxWordLength));
      }
      continue;
    }
    words.push(fold(found).slice(0, maxWordLength));
    const humps = found.length <= maxWordLength && side === "stored" ? found.split(hump) : [];
    if (humps.length > 1) words.push(...humps.map(fold));
  }
  // An accent without a letter leaves an empty word.
  return words.filter((each) => each !== "");
}

function pairs(run: string, side: "stored" | "asked"): string[] {
  const letters = Array.from(run);
  const both = letters.slice(1).map((letter, index) => `${letters[index] ?? ""}${letter}`);
  return side === "stored" || letters.length === 1 ? [...letters, ...both] : both;
}

/** The most common words of prompts in a few languages, which don't make a note relevant. */
const commonWords = new Set(
  (
    "a an and any are as at be been but by can could did do does for from get give had has have he her here him his how i if in " +
    "into is it its just let like make may me more most much my need new no not now of on one only or other our out over " +
    "please put she should show so some such tell than that the their them then there these they this those to too two up " +
    "use used using very want was way we were what when where which while who why will with would write you your about after " +
    "all also always because before being between both each explain few first find good great help know last line long look " +
    "many must never next often old part people same say see set short since still take thing things think through time " +
    "try under until user well work works " +
    "der die das den dem des ein eine einen einem einer und oder aber ist sind war mit von zu zum zur im in auf für fur nicht " +
    "ich du er sie es wir ihr mein meine dein wie was wer wo wann warum bitte kann kannst mir mich dir dich auch noch nur " +
    "le la les un une des et ou est sont dans pour par sur avec que qui quoi ce cette ces je tu il elle nous vous mon ma mes " +
    "ne pas plus au aux du de el los las una unos y o es son en con por para como mi tu su lo se que del al " +
    "non il gli di da per che e sono nel della um uma os as no na do da dos das com não nao"
  ).split(" "),
);

/** Whether a folded word is too common to be distinctive. */
export function isCommon(folded: string): boolean {
  return commonWords.has(folded);
}

/** The beginning and end of a long prompt: a question precedes or follows its subject. */
export function endsOf(prompt: string, characters: number): string {
  return prompt.length <= 2 * characters ? prompt : `${prompt.slice(0, characters)}\n${prompt.slice(-characters)}`;
}

interface Text {
  readonly key: string;
  readonly value: string;
}

/** Users don't look at more. */
const maxSimilar = 5;
/** The share of common words that makes two values nearly the same. */
const sameText = 0.6;
/** Values of fewer words are not compared by words. */
const fewestWords = 3;
/** Only the beginning of a long value is compared. */
const mostWords = 200;
/** Longer keys are not compared with typos; shorter ones are near to everything. */
const longestShape = 100;
const shortestShape = 4;

/**
 * The ids of at most 5 candidates like `text`, nearest first: the same key in another spelling (case, full-width letters,
 * `preferred_editor` and `preferred-editor`), a value of nearly the same words, the same short value under a key with a
 * common word, or a key with one or two typos. Pure.
 */
export function nearDuplicates(text: Text, candidates: readonly (Text & { readonly id: string })[]): readonly string[] {
  const shape = shapeOf(text.key);
  const words = valueWords(text.value);
  const ownKeyWords = keyWords(shape);
  const edits = editsOf(shape);
  return candidates
    .flatMap(({ id, ...other }) => {
      const otherShape = shapeOf(other.key);
      if (otherShape === shape) return [{ id, order: 0 }];
      const otherWords = valueWords(other.value);
      const overlap = overlapOf(words, otherWords);
      if (overlap >= sameText && !isShort(words)) return [{ id, order: 2 - overlap }];
      if (digitsOf(otherShape) !== digitsOf(shape)) return [];
      if (overlap === 1 && keyWords(otherShape).some((word) => ownKeyWords.includes(word))) return [{ id, order: 2 }];
      const distance = editDistance(shape, otherShape);
      return distance <= edits ? [{ id, order: 2 + distance }] : [];
    })
    .toSorted((a, b) => a.order - b.order)
    .slice(0, maxSimilar)
    .map(({ id }) => id);
}

/** The key without differences that are hard to see: case, accents, full-width letters, separators. */
export function shapeOf(key: string): string {
  const spaced = key.replaceAll(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/gu, " ");
  return wordsOf(spaced, "asked").join(" ") || fold(key);
}

/** How many typos two keys with the same numbers may be apart: `server 1` and `server 2` differ. */
export function editsOf(shape: string): 0 | 1 | 2 {
  if (shape.length < shortestShape || shape.length > longestShape) return 0;
  return shape.length < 8 ? 1 : 2;
}

/**
 * Words of which every value with `sameText` of the words of this one contains at least one, whichever they are: the
 * first ones of `words`.
 */
export function decisiveWords(words: readonly string[]): readonly string[] {
  return words.slice(0, words.length - Math.ceil(sameText * words.length) + 1);
}

/** The words of the beginning of a value, each once. */
export function valueWords(value: string): ReadonlySet<string> {
  return new Set(wordsOf(value.slice(0, mostWords * 10)).slice(0, mostWords));
}

/** The numbers of a key. */
export function digitsOf(shape: string): string {
  return shape.replaceAll(/\P{N}+/gu, " ").trim();
}

/** The words of a key without common ones. A short value is ambiguous without one: `fish` is a shell and a meal. */
export function keyWords(shape: string): readonly string[] {
  return shape.split(" ").filter((word) => !isCommon(word));
}

/** Whether a value has too few words to be compared by their share. */
export function isShort(words: ReadonlySet<string>): boolean {
  return words.size < fewestWords;
}

/** The Jaccard index of the words. */
function overlapOf(words: ReadonlySet<string>, others: ReadonlySet<string>): number {
  const both = [...others].filter((word) => words.has(word)).length;
  return both === 0 ? 0 : both / (words.size + others.size - both);
}
