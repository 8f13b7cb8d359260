import { editDistance } from "../util/nearest.ts";
import { fold, isCommon, wordsOf } from "./words.ts";

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
