import type { DocumentFiles } from "../documents/files.ts";
import type { MemoryEntry } from "../facade-recall.ts";
import type { Log } from "../log.ts";
import type { MemoryParts } from "./memories.ts";

/** Tells entries apart: the same key in two projects, or in none, is two of them. Made by `idOf`. */
export type MemoryId = string;

export interface MemorySearchParts {
  readonly log: Log;
  /** Where vectors are cached; absent: in memory alone. */
  readonly files?: DocumentFiles;
  readonly embed: MemoryParts["embed"];
}

export interface SearchOptions {
  /** Whether the caller sees it and asked for it: category, scope, not expired. */
  readonly accepts: (id: MemoryId) => boolean;
  readonly limit: number;
  readonly signal: AbortSignal;
}

export interface SearchResult {
  /** Best first, at most `limit`. */
  readonly ids: readonly MemoryId[];
  /** Before `limit`. */
  readonly total: number;
  readonly method: "text" | "hybrid";
}

/** Finds entries by what they say. The store tells it of every entry, and asks no more than it needs. */
export interface MemorySearch {
  /** Adds it, or replaces what was there under this id. Called for every entry at the start: cheap, indexed when asked. */
  add(id: MemoryId, entry: MemoryEntry): void;
  remove(id: MemoryId): void;
  /** Others that say nearly the same, or whose keys look the same; most similar first, a handful. */
  similar(id: MemoryId, entry: MemoryEntry, accepts: (id: MemoryId) => boolean): Promise<readonly MemoryId[]>;
  search(query: string, options: SearchOptions): Promise<SearchResult>;
  close(): Promise<void>;
}

export function createMemorySearch(parts: MemorySearchParts): MemorySearch {
  parts.log.debug("search: not built yet");
  return {
    add: () => undefined,
    remove: () => undefined,
    similar: () => Promise.resolve([]),
    search: () => Promise.resolve({ ids: [], total: 0, method: "text" }),
    close: () => Promise.resolve(),
  };
}
