import MiniSearch from "minisearch";
import { isCommon, wordsOf } from "./words.ts";

/** The indexed fields of an entry. */
export interface IndexedText {
  readonly id: string;
  readonly key: string;
  readonly value: string;
  readonly tags: readonly string[];
}

/** A result; scores compare only within one search. */
export interface TextHit {
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
  /** Entries that contain any of the (folded) words exactly. */
  matches(words: readonly string[], isVisible: (id: string) => boolean): readonly WordMatch[];
}

/** More words of a query add only cost. */
const maxQueryWords = 32;

/** An empty index. */
export function createTextIndex(): TextIndex {
  const index = new MiniSearch<IndexedText>({
    fields: ["key", "value", "tags"],
    extractField: (entry, field) => (field === "tags" ? entry.tags.join(" ") : entry[field as "id" | "key" | "value"]),
    tokenize: (text) => wordsOf(text),
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
  return {
    get size() {
      return index.documentCount;
    },
    put(entry) {
      if (index.has(entry.id)) index.replace(entry);
      else index.add(entry);
    },
    remove(id) {
      if (index.has(id)) index.discard(id);
    },
    search: (query, isVisible) =>
      index
        .search(query, { filter: (result) => isVisible(String(result.id)) })
        .map(({ id, score }) => ({ id: String(id), score })),
    matches: (words, isVisible) =>
      index
        .search(words.join(" "), {
          tokenize: (text) => text.split(" "),
          prefix: false,
          fuzzy: false,
          filter: (result) => isVisible(String(result.id)),
        })
        .map(({ id, score, match }) => ({ id: String(id), score, fields: new Map(Object.entries(match)) })),
  };
}

/** The words of a query; common ones only if there are no others. */
function queryWords(query: string): readonly string[] {
  const words = wordsOf(query, "asked");
  const distinctive = words.filter((word) => !isCommon(word));
  return (distinctive.length > 0 ? distinctive : words).slice(0, maxQueryWords);
}
