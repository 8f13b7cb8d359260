import type { MemoryEntry } from "../api/facade-recall.ts";
import type { Log } from "../api/log.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { createTurns } from "../util/turns.ts";
import type { Embed } from "./embedding.ts";
import { type MeaningQuery, Meaning } from "./meaning.ts";
import { distinctiveWords, relevantIds } from "./relevance.ts";
import { nearDuplicates } from "./similar.ts";
import { TextIndex } from "./text-index.ts";

/** Identifies an entry by project and key. Made by `idOf`. */
export type MemoryId = string;

interface MemorySearchParts {
  readonly log: Log;
  /** Where vectors are cached; absent: only in memory. */
  readonly files?: DocumentFiles;
  readonly embed: Embed;
}

interface SearchOptions {
  /** Whether the entry is visible to the caller and matches its filter. */
  readonly accepts: (id: MemoryId) => boolean;
  readonly limit: number;
  readonly signal: AbortSignal;
}

interface SearchResult {
  /** Best first, at most `limit`. */
  readonly ids: readonly MemoryId[];
  /** Before `limit`. */
  readonly total: number;
  readonly method: "text" | "hybrid";
}

/** Finds entries by their content. The store adds every entry to it. */
export interface MemorySearch {
  /** Adds or replaces an entry. Cheap, because it is called for every entry at the start: indexes on the first search. */
  add(id: MemoryId, entry: MemoryEntry): void;
  remove(id: MemoryId): void;
  /** A few other entries with nearly the same value or key, most similar first. */
  similar(id: MemoryId, entry: MemoryEntry, accepts: (id: MemoryId) => boolean): Promise<readonly MemoryId[]>;
  /** Searches by words, also by prefix and with typos, and by meaning if an embedding model answers within 3 s. */
  search(query: string, options: SearchOptions): Promise<SearchResult>;
  /** Entries that are relevant to a prompt, best first; prefers none to unrelated ones. Loads no model. */
  relevant(prompt: string, options: SearchOptions): Promise<readonly MemoryId[]>;
  close(): Promise<void>;
}

/** A user waits for a search. */
const searchWaitMs = 3_000;
/** A generation waits for relevant entries, without having requested them. */
const relevantWaitMs = 500;
/** Standard deviations above the similarity of unrelated texts, for a search and for a prompt. */
const foundDeviations = 1.5;
const relevantDeviations = 4;

/** Indexes, reads and embeds nothing before the first search. */
export function createMemorySearch(parts: MemorySearchParts): MemorySearch {
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
    query: MeaningQuery,
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
    add(id, entry) {
      entries.set(id, entry);
      pending.set(id, entry);
      meaning.put(id, entry);
    },
    remove(id) {
      entries.delete(id);
      pending.delete(id);
      index.remove(id);
      meaning.remove(id);
    },
    async similar(id, entry, accepts) {
      const candidates = (await indexed()).resembling(entry);
      return nearDuplicates(
        entry,
        [...candidates].flatMap((other) => {
          const known = other !== id && accepts(other) ? entries.get(other) : undefined;
          return known === undefined ? [] : [{ id: other, key: known.key, value: known.value }];
        }),
      );
    },
    async search(query, { accepts, limit, signal }) {
      const [text, meant] = await Promise.all([
        indexed(),
        entries.size === 0 ? undefined : meaning.ask(query, { signal, waitMs: searchWaitMs }),
      ]);
      const byText = text.search(query, accepts).map(({ id }) => id);
      const found = meant === undefined ? byText : fuseRankings([byText, await near(meant, foundDeviations, accepts)]);
      return { ids: found.slice(0, limit), total: found.length, method: meant === undefined ? "text" : "hybrid" };
    },
    async relevant(prompt, { accepts, limit, signal }) {
      if (entries.size === 0) return [];
      const [text, meant] = await Promise.all([
        indexed(),
        meaning.ask(prompt, { signal, waitMs: relevantWaitMs, isLoadedOnly: true }),
      ]);
      const words = distinctiveWords(prompt);
      const byText = relevantIds(words, text.matches(words, accepts), entries.size);
      if (meant === undefined) return byText.slice(0, limit);
      return fuseRankings([byText, await near(meant, relevantDeviations, accepts)]).slice(0, limit);
    },
    close: () => meaning.close(),
  };
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
