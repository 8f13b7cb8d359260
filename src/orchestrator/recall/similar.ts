import { createTurns } from "../async/turns.ts";
import { createNearTexts, type NearTexts } from "./near-texts.ts";
import { fold, isCommon, wordsOf } from "./words.ts";

interface Text {
  readonly key: string;
  readonly value: string;
}

/** Finds what says nearly the same; its cost doesn't grow with the number of entries to speak of. */
export interface Resemblance {
  put(id: string, text: Text): void;
  remove(id: string): void;
  /**
   * Others like `text`, nearest first, at most 5: the same key in other letters (`Editor`, `preferred_editor` and
   * `preferred-editor`, full-width letters), a value in nearly the same words, the same short value where the keys have a
   * word in common, a key within a typo or two.
   */
  find(id: string, text: Text, accepts: (id: string) => boolean): Promise<readonly string[]>;
}

/** As many as somebody would look at. */
const maxSimilar = 5;
/** Of the words that two values have between them, this part is in both. */
const sameText = 0.6;
/** Values of fewer words say too little to be alike. */
const fewestWords = 3;
/** The beginning of a long value stands for it. */
const mostWords = 200;
/** Longer keys are compared as they are, not with typos. */
const longestShape = 100;
/** Candidates of one bucket: more of them are copies of each other. */
const mostCandidates = 8;

/**
 * Two values of the same words in the part `sameText` meet in one of the buckets with probability 1 - (1 - 0.6²)⁸ = 97 %:
 * MinHash with bands (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).
 */
const bands = 8;
const rows = 2;

/** Of 16; values of the same words in the part `sameText` fall below once in a hundred times. Looking at words costs more. */
const leastAgreement = 5;

interface Known extends Text {
  readonly shape: string;
  /** For a value of few words: it together with each distinctive word of its key. */
  readonly pairs: readonly string[];
  /** `bands * rows` numbers; none for a value of few words. */
  readonly signature: Uint32Array;
}

/** Entries are looked at with the first `find`. */
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
      // Who may see it is asked last: it costs as much as the comparison.
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

/** The key without what the eye hardly sees: case, accents, full-width letters, what stands between words. */
function shapeOf(key: string): string {
  const spaced = key.replaceAll(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/gu, " ");
  return wordsOf(spaced, "asked").join(" ") || fold(key);
}

/** Keys within one typo, from eight letters on two; `server 1` and `server 2` are two things. */
function misspelt(shape: string, shapes: NearTexts): readonly string[] {
  if (shape.length < 4 || shape.length > longestShape) return [];
  return shapes.near(shape, shape.length < 8 ? 1 : 2).filter((other) => digitsOf(other) === digitsOf(shape));
}

/** At most `limit` that are wanted; stops there. */
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

/** Few words say too little by themselves: `fish` is a shell and a meal. */
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
      // Another order of all hashes for each row: xor and a multiplication by an odd number are one-to-one.
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

/** In how many numbers both agree: of all of them the part that the words have in common, more or less. */
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

/** Jaccard's index of the words. */
function overlapOf(words: ReadonlySet<string>, others: ReadonlySet<string>): number {
  if (words.size < fewestWords || others.size < fewestWords) return 0;
  const both = [...others].filter((word) => words.has(word)).length;
  return both / (words.size + others.size - both);
}
