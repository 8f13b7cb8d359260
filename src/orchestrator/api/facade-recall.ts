import * as z from "zod";
import type { CallerContext } from "./types.ts";

/** A remembered entry. */
export const memoryEntry = z.object({
  key: z.string(),
  value: z.string(),
  category: z.enum(["fact", "preference", "context"]),
  /** `project`: only for callers in the project where the entry was stored. */
  scope: z.enum(["global", "project"]),
  /** Folder of the project; with scope `project` only. */
  project: z.string().exactOptional(),
  tags: z.array(z.string()).readonly(),
  isPinned: z.boolean(),
  source: z.enum(["llm", "user", "system"]),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime().exactOptional(),
  /** How often it was recalled or added to a prompt; saved periodically, so a crash loses the latest counts. */
  accessCount: z.int().min(0),
  /** The previous value of the key. */
  previous: z.object({ value: z.string(), updatedAt: z.iso.datetime() }).exactOptional(),
});
export type MemoryEntry = z.output<typeof memoryEntry>;

/** What it leaves out: as the existing entry has it, else a global `fact`. The scope `project` requires a project. */
export interface RememberRequest
  extends
    Pick<MemoryEntry, "key" | "value">,
    Partial<Readonly<Pick<MemoryEntry, "category" | "scope" | "tags" | "isPinned">>> {
  /** 0: no expiry. Default: the lifetime of the existing entry again, else no expiry. */
  readonly ttlSeconds?: number;
  /** Stores a value even if it looks like a secret. */
  readonly isForced?: boolean;
}

export interface Remembered {
  readonly entry: MemoryEntry;
  readonly isNew: boolean;
  /** Other keys with a similar value. */
  readonly similarKeys: readonly string[];
}

/** Entries that have all that is given. */
type Filter = Partial<Pick<MemoryEntry, "key" | "category" | "scope">>;

export interface RecallRequest extends Filter {
  readonly query?: string;
  readonly limit?: number;
}

export interface Recalled {
  readonly entries: readonly MemoryEntry[];
  /** Before `limit`. */
  readonly total: number;
  /** How they were found: by key, all in order, full text, or full text and meaning together. */
  readonly method: "key" | "list" | "text" | "hybrid";
}

/** Selects one key, or all matching entries. Refused without a key, a filter and `isAll`. */
export interface ForgetRequest extends Filter {
  readonly isAll?: boolean;
}

/** A part of an export; everything by default. */
export interface ExportPage {
  /** Continues after the page with this `next`. */
  readonly after?: string;
  /** Limit for the entries' texts in characters; the last entry may exceed it. */
  readonly maxChars?: number;
}

export type MemoryFormat = "json" | "markdown";

/** Memories across sessions. Callers see global entries and those of their own project. */
export interface Memories {
  /** Resolves when the entry is on disk. Throws `InvalidRequest` (key, value, secret, no project), `StoreFailed`. */
  remember(caller: CallerContext, request: RememberRequest): Promise<Remembered>;
  /** What the value looks like that is only saved if forced ("a password"), never the value itself. */
  secretIn(request: Pick<RememberRequest, "key" | "value">): string | undefined;
  /**
   * Throws `UnknownMemory` for an unknown key. By key, an entry of the caller's project hides a global one; lists and
   * searches contain both. A key takes precedence over a query.
   */
  recall(caller: CallerContext, request: RecallRequest): Promise<Recalled>;
  /** The keys that `forget` would remove. */
  matching(caller: CallerContext, request: ForgetRequest): Promise<readonly string[]>;
  /** Removes entries, also on disk, and returns their keys. Throws `UnknownMemory` for an unknown key. */
  forget(caller: CallerContext, request: ForgetRequest): Promise<readonly string[]>;
  /**
   * All entries visible to the caller, oldest key first; for the user's shell those of all projects. `next` is absent on
   * the last page. Throws `InvalidRequest` for a page after an entry that was removed.
   */
  export(
    caller: CallerContext,
    format: MemoryFormat,
    page?: ExportPage,
  ): Promise<{ readonly text: string; readonly next?: string }>;
  /**
   * Imports the entries of an export under source `system`, all in one write. Returns the number of imported entries and
   * the reasons for refused ones. `isForced` also imports values that look like secrets.
   */
  import(
    caller: CallerContext,
    text: string,
    format: MemoryFormat,
    options?: { readonly isForced?: boolean },
  ): Promise<{ readonly imported: number; readonly refused: readonly string[] }>;
}

/** Entries for a prompt. */
export interface MemoryInjection {
  /** Text for the system prompt with entries quoted as data; empty if none fits. */
  readonly text: string;
  readonly keys: readonly string[];
  readonly tokens: number;
  /** Keys of pinned entries that did not fit. */
  readonly leftOut: readonly string[];
}
