import type { MemoryEntry } from "../api/facade-recall.ts";
import { editDistance } from "../util/nearest.ts";
import MiniSearch, { type SearchOptions, type SearchResult } from "minisearch";
import SearchableMap from "minisearch/SearchableMap";
import commonLines from "./common-words.json" with { type: "json" };
import { getOrInsert } from "../util/values.ts";

/** The indexed fields of an entry. */
type IndexedText = Pick<MemoryEntry, "key" | "value" | "tags"> & { readonly id: string };

/** An entry that contains some of the words. */
export interface WordMatch {
  readonly id: string;
  /** Compares only within one search. */
  readonly score: number;
  /** The fields that contain each word (`key`, `value`, `tags`). */
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

/** More words of a query add only cost. */
const maxQueryWords = 32;

/** Looking at more entries for one call costs milliseconds. */
const maxMatches = 1_000;
/** Nor are more entries compared with a new one. */
const maxCompared = 200;
/** More candidates than these are copies of each other. */
const maxResembling = 20;

/** Full-text index of entries. */
export class TextIndex {
  /** The words of each entry and the shape of its key, and in how many entries each word is. */
  readonly #entries = new Map<string, { readonly words: ReadonlySet<string>; readonly shape: string }>();
  readonly #counts = new Map<string, number>();
  /** By the numbers in a key, which typos leave as they are: `server 1` and `server 2` differ. */
  readonly #entriesByShape = new Map<string, SearchableMap<Set<string>>>();
  #seen = new Set<string>();
  readonly #index = new MiniSearch<IndexedText>({
    fields: ["key", "value", "tags"],
    extractField: (entry, field) => (field === "tags" ? entry.tags.join(" ") : entry[field as "id" | "key" | "value"]),
    tokenize: (text) => {
      const words = wordsOf(text);
      for (const each of words) this.#seen.add(each);
      return words;
    },
    processTerm: (term) => term,
    searchOptions: {
      tokenize: (text) => [...new Set(queryWords(text))],
      boost: { key: 3, tags: 2 },
      prefix: (term) => term.length >= 2,
      // Two swapped letters are two edits. Numbers must match exactly.
      fuzzy: (term) => (term.length < 4 || /\d/.test(term) ? false : term.length < 6 ? 1 : 2),
      maxFuzzy: 2,
    },
  });

  get size(): number {
    return this.#index.documentCount;
  }

  put(entry: IndexedText): void {
    const { id } = entry;
    this.#drop(id);
    this.#seen = new Set();
    if (this.#index.has(id)) this.#index.replace(entry);
    else this.#index.add(entry);
    for (const each of this.#seen) this.#counts.set(each, (this.#counts.get(each) ?? 0) + 1);
    const shape = shapeOf(entry.key);
    this.#entries.set(id, { words: this.#seen, shape });
    const alike = getOrInsert(this.#entriesByShape, digitsOf(shape), () => new SearchableMap<Set<string>>());
    getOrInsert(alike, shape, () => new Set<string>()).add(id);
  }

  remove(id: string): void {
    if (!this.#index.has(id)) return;
    this.#index.discard(id);
    this.#drop(id);
  }

  /** Entries that contain any of the words, also by prefix and with typos; best first. */
  search(query: string, isVisible: (id: string) => boolean): readonly Pick<WordMatch, "id" | "score">[] {
    return this.#index
      .search(query, { filter: (result) => isVisible(String(result.id)) })
      .map(({ id, score }) => ({ id: String(id), score }));
  }

  /**
   * Entries that contain any of the (folded) words exactly. The rarest words are searched first, and no more of them once
   * they are in 1,000 entries together: words of so many entries make none relevant.
   */
  matches(words: readonly string[], isVisible: (id: string) => boolean): readonly WordMatch[] {
    return this.#exactly(this.#within(this.#byRarity(words), maxMatches), {
      filter: (result) => isVisible(String(result.id)),
    }).map(({ id, score, match }) => ({ id: String(id), score, fields: new Map(Object.entries(match)) }));
  }

  /** Entries that may be nearly the same as this one, by their keys or the rarest words of their values. */
  resembling({ key, value }: Pick<IndexedText, "key" | "value">): ReadonlySet<string> {
    const shape = shapeOf(key);
    const edits = editsOf(shape);
    const alike = this.#entriesByShape.get(digitsOf(shape));
    const sameKey = [...(alike?.get(shape) ?? [])];
    const words = valueWords(value);
    const known = this.#byRarity(words);
    // A word that no entry contains is the rarest.
    const unknown = [...words].filter((each) => !known.includes(each));
    const rarest = [...unknown, ...known];
    // Every value with `sameText` of these words contains at least one of the first ones, whichever they are.
    const decisive = new Set(rarest.slice(0, rarest.length - Math.ceil(sameText * rarest.length) + 1));
    const rare = known.filter((each) => decisive.has(each));
    const sameValue = isShort(words)
      ? this.#shortValues([...words], keyWords(shape))
      : this.#exactly(this.#within(rare, maxCompared), { fields: ["value"] });
    const nearKeys = edits === 0 ? [] : [...(alike?.fuzzyGet(shape, edits).values() ?? [])];
    const nearKey = nearKeys.toSorted(([, a], [, b]) => a - b).flatMap(([ids]) => [...ids]);
    return new Set(
      [sameKey, sameValue.map(({ id }) => String(id)), nearKey].flatMap((ids) => ids.slice(0, maxResembling)),
    );
  }

  #drop(id: string): void {
    const { words = [], shape = "" } = this.#entries.get(id) ?? {};
    for (const each of words) this.#counts.set(each, (this.#counts.get(each) ?? 1) - 1);
    this.#entries.delete(id);
    const alike = this.#entriesByShape.get(digitsOf(shape));
    const ids = alike?.get(shape);
    ids?.delete(id);
    if (ids?.size === 0) alike?.delete(shape);
    if (alike?.size === 0) this.#entriesByShape.delete(digitsOf(shape));
  }

  /** The words that entries contain, rarest first. */
  #byRarity(words: Iterable<string>): readonly string[] {
    return [...words]
      .filter((each) => (this.#counts.get(each) ?? 0) > 0)
      .toSorted((a, b) => (this.#counts.get(a) ?? 0) - (this.#counts.get(b) ?? 0));
  }

  /** The first words, as long as they are in few entries together; at least one. */
  #within(words: readonly string[], entries: number): readonly string[] {
    let left = entries;
    return words.filter((each, at) => (left -= this.#counts.get(each) ?? 0) >= 0 || at === 0);
  }

  #exactly(words: readonly string[], options: SearchOptions): readonly SearchResult[] {
    if (words.length === 0) return [];
    const exact: SearchOptions = { tokenize: (text) => text.split(" "), prefix: false, fuzzy: false };
    return this.#index.search(words.join(" "), { ...exact, ...options });
  }

  /** Entries with these words in the value, and one of the others in the key. */
  #shortValues(value: readonly string[], key: readonly string[]): readonly SearchResult[] {
    return this.#index.search(
      {
        combineWith: "AND",
        queries: [
          { queries: [...value], fields: ["value"], combineWith: "AND" },
          { queries: [...key], fields: ["key"], combineWith: "OR" },
        ],
      },
      { tokenize: (text) => [text], prefix: false, fuzzy: false },
    );
  }
}

/** A rank counts `1 / (60 + rank)`. */
const k = 60;

/**
 * Reciprocal rank fusion of rankings, best first: an entry that ranks high in several of them wins, whatever their scores
 * mean. After Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
 * Methods" (SIGIR 2009), with its k of 60. Ties keep the order of the first ranking.
 */
export function fuseRankings(rankings: readonly (readonly string[])[]): readonly string[] {
  const scores = new Map<string, number>();
  for (const ranking of rankings) {
    ranking.forEach((id, index) => scores.set(id, (scores.get(id) ?? 0) + 1 / (k + index + 1)));
  }
  return [...scores].toSorted(([, a], [, b]) => b - a).map(([id]) => id);
}

/** The words of a query; common ones only if there are no others. */
function queryWords(query: string): readonly string[] {
  const words = wordsOf(query, "asked");
  const distinctive = words.filter((word) => !isCommon(word));
  return (distinctive.length > 0 ? distinctive : words).slice(0, maxQueryWords);
}

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
const commonWords = new Set(commonLines.flatMap((line) => line.split(" ")));

/** Whether a folded word is too common to be distinctive. */
export function isCommon(folded: string): boolean {
  return commonWords.has(folded);
}

/** The beginning and end of a long prompt: a question precedes or follows its subject. */
export function endsOf(prompt: string, characters: number): string {
  return prompt.length <= 2 * characters ? prompt : `${prompt.slice(0, characters)}\n${prompt.slice(-characters)}`;
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
export function nearDuplicates(
  text: Pick<IndexedText, "key" | "value">,
  candidates: readonly Pick<IndexedText, "id" | "key" | "value">[],
): readonly string[] {
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
function shapeOf(key: string): string {
  const spaced = key.replaceAll(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/gu, " ");
  return wordsOf(spaced, "asked").join(" ") || fold(key);
}

/** How many typos two keys with the same numbers may be apart: `server 1` and `server 2` differ. */
function editsOf(shape: string): 0 | 1 | 2 {
  if (shape.length < shortestShape || shape.length > longestShape) return 0;
  return shape.length < 8 ? 1 : 2;
}

/** The words of the beginning of a value, each once. */
function valueWords(value: string): ReadonlySet<string> {
  return new Set(wordsOf(value.slice(0, mostWords * 10)).slice(0, mostWords));
}

/** The numbers of a key. */
function digitsOf(shape: string): string {
  return shape.replaceAll(/\P{N}+/gu, " ").trim();
}

/** The words of a key without common ones. A short value is ambiguous without one: `fish` is a shell and a meal. */
function keyWords(shape: string): readonly string[] {
  return shape.split(" ").filter((word) => !isCommon(word));
}

/** Whether a value has too few words to be compared by their share. */
function isShort(words: ReadonlySet<string>): boolean {
  return words.size < fewestWords;
}

/** The Jaccard index of the words. */
function overlapOf(words: ReadonlySet<string>, others: ReadonlySet<string>): number {
  const both = [...others].filter((word) => words.has(word)).length;
  return both === 0 ? 0 : both / (words.size + others.size - both);
}
