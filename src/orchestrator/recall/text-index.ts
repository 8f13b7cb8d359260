import MiniSearch, { type SearchOptions } from "minisearch";
import SearchableMap from "minisearch/SearchableMap";
import { decisiveWords, digitsOf, editsOf, isShort, keyWords, shapeOf, valueWords } from "./similar.ts";
import { isCommon, wordsOf } from "./words.ts";

/** The indexed fields of an entry. */
interface IndexedText {
  readonly id: string;
  readonly key: string;
  readonly value: string;
  readonly tags: readonly string[];
}

/** A result; scores compare only within one search. */
interface TextHit {
  readonly id: string;
  readonly score: number;
}

/** An entry that contains some of the words. */
export interface WordMatch {
  readonly id: string;
  readonly score: number;
  /** The fields that contain each word (`key`, `value`, `tags`). */
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

/** Full-text index of entries. */
export interface TextIndex {
  readonly size: number;
  put(entry: IndexedText): void;
  remove(id: string): void;
  /** Entries that contain any of the words, also by prefix and with typos; best first. */
  search(query: string, isVisible: (id: string) => boolean): readonly TextHit[];
  /**
   * Entries that contain any of the (folded) words exactly. The rarest words are searched first, and no more of them once
   * they are in 1,000 entries together: words of so many entries make none relevant.
   */
  matches(words: readonly string[], isVisible: (id: string) => boolean): readonly WordMatch[];
  /** Entries that may be nearly the same as this one, by their keys or the rarest words of their values. */
  resembling(text: Pick<IndexedText, "key" | "value">): ReadonlySet<string>;
}

/** More words of a query add only cost. */
const maxQueryWords = 32;

/** Looking at more entries for one call costs milliseconds. */
const maxMatches = 1_000;
/** Nor are more entries compared with a new one. */
const maxCompared = 200;
/** More candidates than these are copies of each other. */
const maxResembling = 20;

/** An empty index. */
export function createTextIndex(): TextIndex {
  /** The words of each entry, and in how many entries each word is. */
  const wordsOfEntry = new Map<string, ReadonlySet<string>>();
  const counts = new Map<string, number>();
  /** By the numbers in a key, which typos leave as they are: `server 1` and `server 2` differ. */
  const entriesByShape = new Map<string, SearchableMap<Set<string>>>();
  const shapes = new Map<string, string>();
  let seen = new Set<string>();
  const index = new MiniSearch<IndexedText>({
    fields: ["key", "value", "tags"],
    extractField: (entry, field) => (field === "tags" ? entry.tags.join(" ") : entry[field as "id" | "key" | "value"]),
    tokenize(text) {
      const words = wordsOf(text);
      for (const each of words) seen.add(each);
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

  function drop(id: string): void {
    for (const each of wordsOfEntry.get(id) ?? []) counts.set(each, (counts.get(each) ?? 1) - 1);
    wordsOfEntry.delete(id);
    const shape = shapes.get(id) ?? "";
    shapes.delete(id);
    const alike = entriesByShape.get(digitsOf(shape));
    const ids = alike?.get(shape);
    ids?.delete(id);
    if (ids?.size === 0) alike?.delete(shape);
    if (alike?.size === 0) entriesByShape.delete(digitsOf(shape));
  }

  /** The words that entries contain, rarest first. */
  const byRarity = (words: Iterable<string>): readonly string[] =>
    [...words]
      .filter((each) => (counts.get(each) ?? 0) > 0)
      .toSorted((a, b) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0));

  /** The first words, as long as they are in few entries together; at least one. */
  function within(words: readonly string[], entries: number): readonly string[] {
    let left = entries;
    return words.filter((each, at) => (left -= counts.get(each) ?? 0) >= 0 || at === 0);
  }

  const exactly = (words: readonly string[], options: SearchOptions) =>
    words.length === 0
      ? []
      : index.search(words.join(" "), {
          tokenize: (text) => text.split(" "),
          prefix: false,
          fuzzy: false,
          ...options,
        });

  /** Entries with these words in the value, and one of the others in the key. */
  const shortValues = (value: readonly string[], key: readonly string[]) =>
    index.search(
      {
        combineWith: "AND",
        queries: [
          { queries: [...value], fields: ["value"], combineWith: "AND" },
          { queries: [...key], fields: ["key"], combineWith: "OR" },
        ],
      },
      { tokenize: (text) => [text], prefix: false, fuzzy: false },
    );

  return {
    get size() {
      return index.documentCount;
    },
    put(entry) {
      const { id } = entry;
      drop(id);
      seen = new Set();
      if (index.has(id)) index.replace(entry);
      else index.add(entry);
      wordsOfEntry.set(id, seen);
      for (const each of seen) counts.set(each, (counts.get(each) ?? 0) + 1);
      const shape = shapeOf(entry.key);
      shapes.set(id, shape);
      const alike = entriesByShape.get(digitsOf(shape)) ?? new SearchableMap<Set<string>>();
      entriesByShape.set(digitsOf(shape), alike.set(shape, (alike.get(shape) ?? new Set()).add(id)));
    },
    remove(id) {
      if (!index.has(id)) return;
      index.discard(id);
      drop(id);
    },
    search: (query, isVisible) =>
      index
        .search(query, { filter: (result) => isVisible(String(result.id)) })
        .map(({ id, score }) => ({ id: String(id), score })),
    matches: (words, isVisible) =>
      exactly(within(byRarity(words), maxMatches), { filter: (result) => isVisible(String(result.id)) }).map(
        ({ id, score, match }) => ({ id: String(id), score, fields: new Map(Object.entries(match)) }),
      ),
    resembling({ key, value }) {
      const shape = shapeOf(key);
      const edits = editsOf(shape);
      const alike = entriesByShape.get(digitsOf(shape));
      const sameKey = [...(alike?.get(shape) ?? [])];
      const words = valueWords(value);
      const known = byRarity(words);
      // A word that no entry contains is the rarest.
      const unknown = [...words].filter((each) => !known.includes(each));
      const decisive = new Set(decisiveWords([...unknown, ...known]));
      const sameValue = isShort(words)
        ? shortValues([...words], keyWords(shape))
        : exactly(
            within(
              known.filter((each) => decisive.has(each)),
              maxCompared,
            ),
            { fields: ["value"] },
          );
      const nearKeys = edits === 0 ? [] : [...(alike?.fuzzyGet(shape, edits).values() ?? [])];
      const nearKey = nearKeys.toSorted(([, a], [, b]) => a - b).flatMap(([ids]) => [...ids]);
      return new Set(
        [sameKey, sameValue.map(({ id }) => String(id)), nearKey].flatMap((ids) => ids.slice(0, maxResembling)),
      );
    },
  };
}

/** The words of a query; common ones only if there are no others. */
function queryWords(query: string): readonly string[] {
  const words = wordsOf(query, "asked");
  const distinctive = words.filter((word) => !isCommon(word));
  return (distinctive.length > 0 ? distinctive : words).slice(0, maxQueryWords);
}
