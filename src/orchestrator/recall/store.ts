import { createTurns } from "../util/turns.ts";
import { openDocument } from "../storage/document.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import type { MemoryEntry } from "../api/facade-recall.ts";
import type { Log } from "../api/log.ts";
import { idOf, isExpired } from "./entry.ts";
import type { MemoryId, MemorySearch } from "./search.ts";
import {
  applyToMemory,
  type MemoryChange,
  type MemoryEvent,
  memoryEventSchema,
  type MemoryState,
  memoryStateSchema,
  schemaVersion,
} from "./state.ts";

export interface MemoryStore {
  /** Undefined for an unknown or expired entry. */
  get(id: MemoryId): MemoryEntry | undefined;
  /** All entries that have not expired, oldest key first. */
  all(): readonly MemoryEntry[];
  /** Resolves when the event is on disk and in the search index. Throws `StoreFailed`. */
  write(event: MemoryEvent): Promise<MemoryChange>;
  /**
   * Counts one use of each entry. Counts are written with the next event, after 1,000 entries and on close, because a sync
   * would cost more than a recall. A crash loses counts that are not written yet.
   */
  touch(entries: readonly MemoryEntry[]): void;
  readonly problems: readonly string[];
  close(): Promise<void>;
}

const maxTouched = 1_000;

/** Opens `memory.json` and adds its entries to `search`. Throws `StoreFailed`. */
export async function openMemoryStore(parts: {
  readonly files?: DocumentFiles;
  readonly now: () => number;
  readonly log: Log;
  readonly search: MemorySearch;
}): Promise<MemoryStore> {
  const { now, log, search } = parts;
  let touched = new Map<MemoryId, { readonly entry: MemoryEntry; count: number }>();

  const document = await openDocument<MemoryState, MemoryEvent, MemoryChange>({
    ...(parts.files === undefined ? {} : { files: parts.files }),
    name: "memory",
    schemaVersion,
    empty: () => ({ entries: new Map() }),
    state: memoryStateSchema,
    event: memoryEventSchema,
    apply: applyToMemory,
    snapshot: ({ entries }) => ({ entries: [...entries.values()] }),
    prune({ entries }) {
      for (const [id, entry] of entries) {
        if (!isExpired(entry, now())) continue;
        entries.delete(id);
        search.remove(id);
      }
    },
    log,
  });
  const { entries } = document.state;
  for (const [id, entry] of entries) search.add(id, entry);

  /** The entry with its unwritten count. */
  const counted = (id: MemoryId, entry: MemoryEntry): MemoryEntry => {
    const more = touched.get(id)?.count;
    return more === undefined ? entry : { ...entry, accessCount: entry.accessCount + more };
  };

  /** Never rejects: a failing disk is reported by the next write of an entry. */
  async function writeTouched(): Promise<void> {
    if (touched.size === 0) return;
    const written = touched;
    touched = new Map();
    const keys = [...written.values()].map(({ entry: { key, project }, count }) => ({
      key,
      ...(project === undefined ? {} : { project }),
      count,
    }));
    try {
      await document.append({ type: "access", places: keys });
    } catch (error) {
      log.debug(`recall: counts of use can't be written: ${String(error)}`);
    }
  }

  return {
    get(id) {
      const entry = entries.get(id);
      return entry === undefined || isExpired(entry, now()) ? undefined : counted(id, entry);
    },
    all() {
      const nowMs = now();
      const living: MemoryEntry[] = [];
      for (const [id, entry] of entries) if (!isExpired(entry, nowMs)) living.push(counted(id, entry));
      return living;
    },
    async write(event) {
      const counts = writeTouched();
      const change = await document.append(event);
      await counts;
      const turn = createTurns();
      // The present state: the same key may have been written again meanwhile.
      for (const id of [...change.removed, ...change.put.map(({ project, key }) => idOf(project, key))]) {
        const entry = entries.get(id);
        if (entry === undefined) search.remove(id);
        else search.add(id, entry);
        const others = turn();
        if (others !== undefined) await others;
      }
      return change;
    },
    touch(used) {
      for (const entry of used) {
        const id = idOf(entry.project, entry.key);
        const known = touched.get(id);
        if (known === undefined) touched.set(id, { entry, count: 1 });
        else known.count += 1;
      }
      if (touched.size >= maxTouched) void writeTouched();
    },
    problems: document.problems,
    async close() {
      await writeTouched();
      await document.close();
    },
  };
}
