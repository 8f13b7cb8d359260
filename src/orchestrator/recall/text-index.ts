import MiniSearch, { type SearchOptions, type SearchResult } from "minisearch";
import SearchableMap from "minisearch/SearchableMap";
import {
  decisiveWords,
  digitsOf,
  editsOf,
  isShort,
  keyWords,
  shapeOf,
  valueWords,
  isCommon,
  wordsOf,
} from "./words.ts";

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
  /** The words of each entry, and in how many entries each word is. */
  readonly #wordsOfEntry = new Map<string, ReadonlySet<string>>();
  readonly #counts = new Map<string, number>();
  /** By the numbers in a key, which typos leave as they are: `server 1` and `server 2` differ. */
  readonly #entriesByShape = new Map<string, SearchableMap<Set<string>>>();
  readonly #shapes = new Map<string, string>();
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
    this.#wordsOfEntry.set(id, this.#seen);
    for (const each of this.#seen) this.#counts.set(each, (this.#counts.get(each) ?? 0) + 1);
    const shape = shapeOf(entry.key);
    this.#shapes.set(id, shape);
    const alike = this.#entriesByShape.get(digitsOf(shape)) ?? new SearchableMap<Set<string>>();
    this.#entriesByShape.set(digitsOf(shape), alike.set(shape, (alike.get(shape) ?? new Set()).add(id)));
  }

  remove(id: string): void {
    if (!this.#index.has(id)) return;
    this.#index.discard(id);
    this.#drop(id);
  }

  /** Entries that contain any of the words, also by prefix and with typos; best first. */
  search(query: string, isVisible: (id: string) => boolean): readonly TextHit[] {
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
    const decisive = new Set(decisiveWords([...unknown, ...known]));
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
    for (const each of this.#wordsOfEntry.get(id) ?? []) this.#counts.set(each, (this.#counts.get(each) ?? 1) - 1);
    this.#wordsOfEntry.delete(id);
    const shape = this.#shapes.get(id) ?? "";
    this.#shapes.delete(id);
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

/** The words of a query; common ones only if there are no others. */
function queryWords(query: string): readonly string[] {
  const words = wordsOf(query, "asked");
  const distinctive = words.filter((word) => !isCommon(word));
  return (distinctive.length > 0 ? distinctive : words).slice(0, maxQueryWords);
}
