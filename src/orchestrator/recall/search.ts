import type { MemoryEntry } from "../api/facade-recall.ts";
import { createTurns } from "../util/joined-work.ts";
import { Meaning } from "./meaning.ts";
import { fuseRankings, nearDuplicates, endsOf, isCommon, wordsOf, TextIndex, type WordMatch } from "./text-index.ts";

/** Identifies an entry by project and key. Made by `idOf`. */
export type MemoryId = string;

interface SearchOptions {
  /** Whether the entry is visible to the caller and matches its filter. */
  readonly accepts: (id: MemoryId) => boolean;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** Finds entries by their content. The store adds every entry to it. */
export type MemorySearch = ReturnType<typeof createMemorySearch>;

/** A user waits for a search. */
const searchWaitMs = 3_000;
/** A generation waits for relevant entries, without having requested them. */
const relevantWaitMs = 500;
/** Standard deviations above the similarity of unrelated texts, for a search and for a prompt. */
const foundDeviations = 1.5;
const relevantDeviations = 4;

/** Indexes, reads and embeds nothing before the first search. */
export function createMemorySearch(parts: ConstructorParameters<typeof Meaning>[0]) {
  const meaning = new Meaning(parts);
  const index = new TextIndex();
  const entries = new Map<MemoryId, MemoryEntry>();
  const pending = new Map<MemoryId, MemoryEntry>();

  async function indexed(): Promise<TextIndex> {
    const turn = createTurns();
    for (const [id, entry] of pending) {
      pending.delete(id);
      index.put({ id, key: entry.key, value: entry.value, tags: entry.tags });
      const others = turn();
      if (others !== undefined) await others;
    }
    return index;
  }

  /** Ids with a meaning similar to the query, nearest first. */
  async function near(
    query: NonNullable<Awaited<ReturnType<Meaning["ask"]>>>,
    deviations: number,
    accepts: (id: MemoryId) => boolean,
  ): Promise<readonly MemoryId[]> {
    const turn = createTurns();
    const threshold = query.threshold(deviations);
    const found: { readonly id: MemoryId; readonly similarity: number }[] = [];
    for (const id of entries.keys()) {
      const others = turn();
      if (others !== undefined) await others;
      if (!accepts(id)) continue;
      const similarity = query.similarityOf(id);
      if (similarity !== undefined && similarity > threshold) found.push({ id, similarity });
    }
    return found.toSorted((a, b) => b.similarity - a.similarity).map(({ id }) => id);
  }

  return {
    /** Adds or replaces an entry. Cheap, because it is called for every entry at the start: indexes on the first search. */
    add(id: MemoryId, entry: MemoryEntry) {
      entries.set(id, entry);
      pending.set(id, entry);
      meaning.put(id, entry);
    },
    remove(id: MemoryId) {
      entries.delete(id);
      pending.delete(id);
      index.remove(id);
      meaning.remove(id);
    },
    /** A few other entries with nearly the same value or key, most similar first. */
    async similar(id: MemoryId, entry: MemoryEntry, accepts: (id: MemoryId) => boolean): Promise<readonly MemoryId[]> {
      const candidates = (await indexed()).resembling(entry);
      return nearDuplicates(
        entry,
        [...candidates].flatMap((other) => {
          const known = other !== id && accepts(other) ? entries.get(other) : undefined;
          return known === undefined ? [] : [{ id: other, key: known.key, value: known.value }];
        }),
      );
    },
    /**
     * Searches by words, also by prefix and with typos, and by meaning if an embedding model answers within 3 s. Best first,
     * at most `limit`; `total` counts all.
     */
    async search(query: string, { accepts, limit, signal }: SearchOptions) {
      const [text, meant] = await Promise.all([
        indexed(),
        entries.size === 0 ? undefined : meaning.ask(query, { signal, waitMs: searchWaitMs }),
      ]);
      const byText = text.search(query, accepts).map(({ id }) => id);
      const found = meant === undefined ? byText : fuseRankings([byText, await near(meant, foundDeviations, accepts)]);
      const method: "text" | "hybrid" = meant === undefined ? "text" : "hybrid";
      return { ids: found.slice(0, limit), total: found.length, method };
    },
    /**
     * Entries that are relevant to a prompt, best first; prefers none to unrelated ones. Loads no model. A prompt that is only
     * planned (`isUsed` false) is compared by words: no model works for it.
     */
    async relevant(prompt: string, { accepts, limit, signal }: SearchOptions, isUsed: boolean = true) {
      if (entries.size === 0) return [];
      const [text, meant] = await Promise.all([
        indexed(),
        isUsed ? meaning.ask(prompt, { signal, waitMs: relevantWaitMs, isLoadedOnly: true }) : undefined,
      ]);
      const words = distinctiveWords(prompt);
      const byText = relevantIds(words, text.matches(words, accepts), entries.size);
      if (meant === undefined) return byText.slice(0, limit);
      return fuseRankings([byText, await near(meant, relevantDeviations, accepts)]).slice(0, limit);
    },
    close: () => meaning.close(),
  };
}

/** More words of each end of a prompt add only cost. */
const maxEndWords = 100;
const maxEndCharacters = 20_000;
/** In a prompt with more distinctive words than these, a match may be accidental. */
const shortPrompt = 30;
/** A word in more notes than these, and in more than a tenth of all, is not distinctive. */
const fewNotes = 3;
const smallPart = 0.1;
/** Matches of shorter words of a value may be accidental. */
const distinctiveLength = 5;
const enough = 1;

/** The distinctive words of a prompt, in singular and plural, without duplicates. */
function distinctiveWords(prompt: string): readonly string[] {
  const distinctive = wordsOf(endsOf(prompt, maxEndCharacters), "asked").filter((word) => !isCommon(word));
  const words = new Set([...new Set(distinctive)].slice(0, maxEndWords));
  for (const word of new Set(distinctive.toReversed())) if (words.size < 2 * maxEndWords) words.add(word);
  const forms = [...words].flatMap((word) =>
    /^[a-z]{3,}$/.test(word) ? [word, singularOf(word), `${singularOf(word)}s`] : [word],
  );
  return [...new Set(forms)];
}

/**
 * Entries that are relevant to a prompt by its words, best first. Stricter than a search, because each result costs tokens
 * of the prompt: the weights of an entry's words must sum up to 1.
 *
 * | word of the prompt                | rare in the notes | else |
 * |-----------------------------------|-------------------|------|
 * | in the key or a tag               | 1                 | ½    |
 * | in the value, of a short prompt   | 1, from five letters on; else ½ | ¼ |
 * | in the value, of a long prompt    | ½                 | ¼    |
 */
function relevantIds(words: readonly string[], matches: readonly WordMatch[], noteCount: number): readonly string[] {
  const notesWith = new Map<string, number>();
  for (const { fields } of matches) {
    for (const word of new Set([...fields.keys()].map(singularOf))) notesWith.set(word, (notesWith.get(word) ?? 0) + 1);
  }
  const isRare = (word: string): boolean => (notesWith.get(word) ?? 0) <= Math.max(fewNotes, noteCount * smallPart);
  const isShort = new Set(words.map(singularOf)).size <= shortPrompt;
  return matches
    .map(({ id, fields, score }) => {
      const weights = new Map<string, number>();
      for (const [form, found] of fields) {
        const word = singularOf(form);
        const weight = weightOf(word, found, isRare(word), isShort);
        weights.set(word, Math.max(weights.get(word) ?? 0, weight));
      }
      return { id, score, weight: [...weights.values()].reduce((sum, weight) => sum + weight, 0) };
    })
    .filter(({ weight }) => weight >= enough)
    .toSorted((a, b) => b.weight - a.weight || b.score - a.score)
    .map(({ id }) => id);
}

function weightOf(word: string, fields: readonly string[], isRare: boolean, isShort: boolean): number {
  if (fields.includes("key") || fields.includes("tags")) return isRare ? 1 : 0.5;
  if (!isRare) return 0.25;
  const isDistinctive = word.length >= distinctiveLength || /[\u0250-\uffff]/.test(word);
  return isShort && isDistinctive ? 1 : 0.5;
}

function singularOf(word: string): string {
  return /[a-z]{3,}s$/.test(word) && !word.endsWith("ss") ? word.slice(0, -1) : word;
}
