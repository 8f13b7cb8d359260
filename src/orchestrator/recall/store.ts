import { createTurns } from "../async/turns.ts";
import { openDocument } from "../documents/document.ts";
import type { DocumentFiles } from "../documents/files.ts";
import type { MemoryEntry } from "../facade-recall.ts";
import type { Log } from "../log.ts";
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
  /** Undefined for what isn't there or has expired. */
  get(id: MemoryId): MemoryEntry | undefined;
  /** Those that have not expired, oldest key first. */
  all(): readonly MemoryEntry[];
  /** Resolves when it is on disk and the search knows of it. Throws `StoreFailed`. */
  write(event: MemoryEvent): Promise<MemoryChange>;
  /**
   * Counts one use of each. Counts are written with the next event, after 1,000 entries and at the end, not one by one:
   * a sync for each recall would cost more than the recall. A crash loses those that are not written yet.
   */
  touch(entries: readonly MemoryEntry[]): void;
  readonly problems: readonly string[];
  close(): Promise<void>;
}

const maxTouched = 1_000;

/** Opens `memory.json` and tells `search` of every entry in it. Throws `StoreFailed`. */
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

  /** With what was counted meanwhile. */
  const counted = (id: MemoryId, entry: MemoryEntry): MemoryEntry => {
    const more = touched.get(id)?.count;
    return more === undefined ? entry : { ...entry, accessCount: entry.accessCount + more };
  };

  /** A disk that takes no counts is told to whoever writes something that matters. */
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
      await document.append({ type: "access", keys });
    } catch (error) {
      log.debug(`how often entries were recalled is not written: ${String(error)}`);
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
      // As it is by now: others may have written the same key meanwhile.
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
