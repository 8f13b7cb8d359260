import { createTurns } from "../util/turns.ts";
import { type NearTexts, createNearTexts } from "./near-texts.ts";
import { fold, isCommon, wordsOf } from "./text-index.ts";

interface Text {
  readonly key: string;
  readonly value: string;
}

/** Finds nearly equal entries; the cost hardly depends on their number. */
export interface Resemblance {
  put(id: string, text: Text): void;
  remove(id: string): void;
  /**
   * At most 5 other entries like `text`, nearest first: the same key in another spelling (case, full-width letters,
   * `preferred_editor` and `preferred-editor`), a value of nearly the same words, the same short value under a key with a
   * common word, or a key with one or two typos.
   */
  find(id: string, text: Text, accepts: (id: string) => boolean): Promise<readonly string[]>;
}

/** Users don't look at more. */
const maxSimilar = 5;
/** The share of common words that makes two values nearly the same. */
const sameText = 0.6;
/** Values of fewer words are not compared by words. */
const fewestWords = 3;
/** Only the beginning of a long value is compared. */
const mostWords = 200;
/** Longer keys are not compared with typos. */
const longestShape = 100;
/** Candidates of one bucket; more of them are copies of each other. */
const mostCandidates = 8;

/**
 * Two values that share `sameText` of their words have a common bucket with probability 1 - (1 - 0.6²)⁸ = 97 %: MinHash
 * with bands (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).
 */
const bands = 8;
const rows = 2;

/** Of 16. One in a hundred pairs of values that share `sameText` of their words has less; comparing words costs more. */
const leastAgreement = 5;

interface Known extends Text {
  readonly shape: string;
  /** For a value of few words: the value with each distinctive word of its key. */
  readonly pairs: readonly string[];
  /** `bands * rows` numbers; none for a value of few words. */
  readonly signature: Uint32Array;
}

/** Indexes entries on the first `find`. */
export function createResemblance(): Resemblance {
  const pending = new Map<string, Text>();
  const known = new Map<string, Known>();
  const shapes = new Map<string, Set<string>>();
  const nearShapes = createNearTexts();
  const buckets = new Map<string, Set<string>>();

  function take(id: string, text: Text): void {
    const shape = shapeOf(text.key);
    const words = valueWords(text.value);
    const signature = signatureOf(words);
    const pairs = pairsOf(shape, words);
    known.set(id, { ...text, shape, pairs, signature });
    if (!shapes.has(shape)) nearShapes.add(shape);
    shapes.set(shape, (shapes.get(shape) ?? new Set()).add(id));
    for (const bucket of [...bucketsOf(signature), ...pairs]) {
      buckets.set(bucket, (buckets.get(bucket) ?? new Set()).add(id));
    }
  }

  function drop(id: string): void {
    const old = known.get(id);
    if (old === undefined) return;
    known.delete(id);
    const held = shapes.get(old.shape);
    held?.delete(id);
    if (held?.size === 0) {
      shapes.delete(old.shape);
      nearShapes.remove(old.shape);
    }
    for (const bucket of [...bucketsOf(old.signature), ...old.pairs]) {
      const ids = buckets.get(bucket);
      ids?.delete(id);
      if (ids?.size === 0) buckets.delete(bucket);
    }
  }

  async function takeAll(): Promise<void> {
    const turn = createTurns();
    for (const [id, text] of pending) {
      pending.delete(id);
      take(id, text);
      const others = turn();
      if (others !== undefined) await others;
    }
  }

  return {
    put(id, text) {
      drop(id);
      pending.set(id, text);
    },
    remove(id) {
      pending.delete(id);
      drop(id);
    },
    async find(id, text, accepts) {
      await takeAll();
      const isOther = (other: string): boolean => other !== id && accepts(other);
      const shape = shapeOf(text.key);
      const lookAlike = [...(shapes.get(shape) ?? [])].filter(isOther);
      const words = valueWords(text.value);
      const signature = signatureOf(words);
      // Visibility is checked last, because it costs as much as the comparison.
      const candidates = new Set(
        bucketsOf(signature).flatMap((bucket) =>
          firstOf(buckets.get(bucket) ?? [], (other) => other !== id, mostCandidates),
        ),
      );
      const alike = [...candidates]
        .filter((other) => agreement(signature, known.get(other)?.signature) >= leastAgreement && isOther(other))
        .map((other) => ({ other, overlap: overlapOf(words, valueWords(known.get(other)?.value ?? "")) }))
        .filter(({ overlap }) => overlap >= sameText)
        .toSorted((a, b) => b.overlap - a.overlap)
        .map(({ other }) => other);
      const same = pairsOf(shape, words).flatMap((pair) =>
        firstOf(
          buckets.get(pair) ?? [],
          (other) => isOther(other) && digitsOf(known.get(other)?.shape ?? "") === digitsOf(shape),
          maxSimilar,
        ),
      );
      const near = misspelt(shape, nearShapes).flatMap((other) => [...(shapes.get(other) ?? [])].filter(isOther));
      return [...new Set([...lookAlike, ...alike, ...same, ...near])].slice(0, maxSimilar);
    },
  };
}

/** The key without differences that are hard to see: case, accents, full-width letters, separators. */
function shapeOf(key: string): string {
  const spaced = key.replaceAll(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/gu, " ");
  return wordsOf(spaced, "asked").join(" ") || fold(key);
}

/** Keys within one typo (two from eight letters on) and with the same numbers: `server 1` and `server 2` differ. */
function misspelt(shape: string, shapes: NearTexts): readonly string[] {
  if (shape.length < 4 || shape.length > longestShape) return [];
  return shapes.near(shape, shape.length < 8 ? 1 : 2).filter((other) => digitsOf(other) === digitsOf(shape));
}

/** The first `limit` ids that are wanted. */
function firstOf(ids: Iterable<string>, isWanted: (id: string) => boolean, limit: number): string[] {
  const found: string[] = [];
  for (const id of ids) {
    if (found.length === limit) break;
    if (isWanted(id)) found.push(id);
  }
  return found;
}

function digitsOf(shape: string): string {
  return shape.replaceAll(/\P{N}+/gu, " ").trim();
}

function valueWords(value: string): ReadonlySet<string> {
  return new Set(wordsOf(value.slice(0, mostWords * 10)).slice(0, mostWords));
}

/** Pairs a short value with the words of its key, because the value is ambiguous: `fish` is a shell and a meal. */
function pairsOf(shape: string, words: ReadonlySet<string>): readonly string[] {
  if (words.size === 0 || words.size >= fewestWords) return [];
  const value = [...words].toSorted().join(" ");
  return shape
    .split(" ")
    .filter((word) => !isCommon(word))
    .map((word) => `${word} = ${value}`);
}

function signatureOf(words: ReadonlySet<string>): Uint32Array {
  if (words.size < fewestWords) return new Uint32Array();
  const least = new Uint32Array(bands * rows).fill(0xffffffff);
  for (const word of words) {
    const hash = hashOf(word);
    for (let row = 0; row < least.length; row += 1) {
      // Each row orders the hashes differently: xor and multiplication by an odd number are one-to-one.
      const mixed = Math.imul(hash ^ Math.imul(row + 1, 0x9e3779b1), 0x85ebca6b);
      const value = (mixed ^ (mixed >>> 15)) >>> 0;
      if (value < (least[row] ?? 0)) least[row] = value;
    }
  }
  return least;
}

function bucketsOf(signature: Uint32Array): readonly string[] {
  return Array.from(
    { length: signature.length / rows },
    (_unused, band) => `${band} ${signature[band * rows]} ${signature[band * rows + 1]}`,
  );
}

/** The number of equal values; its share estimates the share of common words. */
function agreement(signature: Uint32Array, other: Uint32Array | undefined): number {
  if (other === undefined) return 0;
  let count = 0;
  for (let index = 0; index < signature.length; index += 1) if (signature[index] === other[index]) count += 1;
  return count;
}

/** FNV-1a, 32 bits. */
function hashOf(word: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < word.length; index += 1) hash = Math.imul(hash ^ word.charCodeAt(index), 0x01000193);
  return hash;
}

/** The Jaccard index of the words. */
function overlapOf(words: ReadonlySet<string>, others: ReadonlySet<string>): number {
  if (words.size < fewestWords || others.size < fewestWords) return 0;
  const both = [...others].filter((word) => words.has(word)).length;
  return both / (words.size + others.size - both);
}
