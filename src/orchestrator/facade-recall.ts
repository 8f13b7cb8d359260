import type { CallerContext } from "./types.ts";

export type MemoryCategory = "fact" | "preference" | "context";
/** `project`: only for callers that work in the project in which it was remembered. */
export type MemoryScope = "global" | "project";
/** The way by which it came: a tool call of an assistant, the user's own shell, an import. Nobody can set it. */
export type MemorySource = "llm" | "user" | "system";

/** Something that was remembered. */
export interface MemoryEntry {
  readonly key: string;
  readonly value: string;
  readonly category: MemoryCategory;
  readonly scope: MemoryScope;
  /** Folder of the project; with scope `project` only. */
  readonly project?: string;
  readonly tags: readonly string[];
  readonly isPinned: boolean;
  readonly source: MemorySource;
  /** ISO 8601, like the others. */
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly expiresAt?: string;
  /** How often it was recalled or put into a prompt; written now and then, so a crash loses the newest counts. */
  readonly accessCount: number;
  /** What the key held before. */
  readonly previous?: { readonly value: string; readonly updatedAt: string };
}

export interface RememberRequest {
  readonly key: string;
  readonly value: string;
  /** `fact` when absent, or what the key had. */
  readonly category?: MemoryCategory;
  /** When absent: where the key is already, else `global`. `project` needs a project. */
  readonly scope?: MemoryScope;
  readonly tags?: readonly string[];
  readonly isPinned?: boolean;
  /** 0: no end. When absent: the same time again as the key had, else no end. */
  readonly ttlSeconds?: number;
  /** Stores what looks like a secret all the same. */
  readonly isForced?: boolean;
}

export interface Remembered {
  readonly entry: MemoryEntry;
  readonly isNew: boolean;
  /** Other keys that say nearly the same. */
  readonly similarKeys: readonly string[];
}

export interface RecallRequest {
  readonly key?: string;
  readonly query?: string;
  readonly category?: MemoryCategory;
  readonly scope?: MemoryScope;
  readonly limit?: number;
}

export interface Recalled {
  readonly entries: readonly MemoryEntry[];
  /** Before `limit`. */
  readonly total: number;
  /** How they were found: by key, all in order, full text, or full text and meaning together. */
  readonly method: "key" | "list" | "text" | "hybrid";
}

/** What goes: one key, or everything that matches; neither key nor filter nor `isAll` is refused. */
export interface ForgetRequest {
  readonly key?: string;
  readonly category?: MemoryCategory;
  readonly scope?: MemoryScope;
  readonly isAll?: boolean;
}

/** A part of an export; all of it when nothing is said. */
export interface ExportPage {
  /** Begins behind what this page ended with: its `next`. */
  readonly after?: string;
  /** Characters of the entries' texts; the last one may go beyond them. */
  readonly maxChars?: number;
}

export interface Exported {
  readonly text: string;
  /** Absent: that was all. */
  readonly next?: string;
}

export type MemoryFormat = "json" | "markdown";

/** What is remembered across sessions. Callers see global entries and those of their own project. */
export interface Memories {
  /** Resolves when it is on disk. Throws `InvalidRequest` (key, value, secret, no project), `StoreFailed`. */
  remember(caller: CallerContext, request: RememberRequest): Promise<Remembered>;
  /**
   * Throws `UnknownMemory` for a key that isn't there. By key, an entry of the caller's project hides a global one; lists
   * and searches have both. Both key and query: the key.
   */
  recall(caller: CallerContext, request: RecallRequest): Promise<Recalled>;
  /** Keys that `forget` would remove, for asking first. */
  matching(caller: CallerContext, request: ForgetRequest): Promise<readonly string[]>;
  /** Keys that are gone, on disk too. Throws `UnknownMemory` for a key that isn't there. */
  forget(caller: CallerContext, request: ForgetRequest): Promise<readonly string[]>;
  /**
   * Every entry that the caller sees, oldest key first; for the user's own shell those of all projects. Throws
   * `InvalidRequest` for a page behind an entry that is gone.
   */
  export(caller: CallerContext, format: MemoryFormat, page?: ExportPage): Promise<Exported>;
  /**
   * Entries of such a text, under source `system`; the count of those taken and why others were not. Each is taken whole,
   * and all of them at once. `isForced` takes what looks like a secret.
   */
  import(
    caller: CallerContext,
    text: string,
    format: MemoryFormat,
    options?: { readonly isForced?: boolean },
  ): Promise<{ readonly imported: number; readonly refused: readonly string[] }>;
}

/** Entries that go into a prompt. */
export interface MemoryInjection {
  /** Stands in the system prompt, its entries quoted as data; "" where no entry fits. */
  readonly text: string;
  readonly keys: readonly string[];
  readonly tokens: number;
  /** Keys of pinned entries for which there was no room. */
  readonly leftOut: readonly string[];
}
