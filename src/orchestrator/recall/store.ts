import * as z from "zod";
import { type MemoryEntry, memoryEntry } from "../api/facade-recall.ts";
import type { Log } from "../api/log.ts";
import type { DocumentFiles } from "../storage/document-files.ts";
import { openDocument } from "../storage/document.ts";
import { createTurns } from "../util/joined-work.ts";
import { idOf, isExpired } from "./entry.ts";
import type { MemoryId, MemorySearch } from "./search.ts";
import { defined, getOrInsert } from "../util/values.ts";

export type MemoryStore = Awaited<ReturnType<typeof openMemoryStore>>;

const maxTouched = 1_000;

/** Opens `memory.json` and adds its entries to `search`. Throws `StoreFailed`. */
export async function openMemoryStore(parts: {
  readonly files?: DocumentFiles;
  readonly now: () => number;
  readonly log: Log;
  readonly search: MemorySearch;
}) {
  const { now, log, search } = parts;
  let touched = new Map<MemoryId, { readonly entry: MemoryEntry; count: number }>();

  const document = await openDocument<MemoryState, MemoryEvent, MemoryChange>({
    ...defined({ files: parts.files }),
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

  /** Found again after a change: a prompt must not look at every entry. */
  let standing: readonly MemoryId[] | undefined;
  const get = (id: MemoryId): MemoryEntry | undefined => {
    const entry = entries.get(id);
    return entry === undefined || isExpired(entry, now()) ? undefined : counted(id, entry);
  };

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
      ...defined({ project }),
      count,
    }));
    try {
      await document.append({ type: "access", places: keys });
    } catch (error) {
      log.debug(`recall: counts of use can't be written: ${String(error)}`);
    }
  }

  return {
    /** Undefined for an unknown or expired entry. */
    get,
    /** Whether there is such an entry that has not expired. */
    some(isWanted: (entry: MemoryEntry) => boolean) {
      for (const entry of entries.values()) if (!isExpired(entry, now()) && isWanted(entry)) return true;
      return false;
    },
    /** The entries that are pinned or preferences, and not expired: they may go into any prompt. */
    standing(): readonly MemoryEntry[] {
      standing ??= [...entries].flatMap(([id, entry]) =>
        entry.isPinned || entry.category === "preference" ? [id] : [],
      );
      return standing.flatMap((id) => get(id) ?? []);
    },
    /** All entries that have not expired, oldest key first. */
    all(): readonly MemoryEntry[] {
      const nowMs = now();
      const current: MemoryEntry[] = [];
      for (const [id, entry] of entries) if (!isExpired(entry, nowMs)) current.push(counted(id, entry));
      return current;
    },
    /** Resolves when the event is on disk and in the search index. Throws `StoreFailed`. */
    async write(event: MemoryEvent): Promise<MemoryChange> {
      const counts = writeTouched();
      const change = await document.append(event);
      standing = undefined;
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
    /**
     * Counts one use of each entry. Counts are written with the next event, after 1,000 entries and on close, because a sync
     * would cost more than a recall. A crash loses counts that are not written yet.
     */
    touch(used: readonly MemoryEntry[]) {
      for (const entry of used) {
        const id = idOf(entry.project, entry.key);
        getOrInsert(touched, id, () => ({ entry, count: 0 })).count += 1;
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

/** Format of `memory.json` and its journal. */
const schemaVersion = 1;

const scopedKey = z.object({ key: z.string(), project: z.string().exactOptional() });

const rememberedSchema = z.object({
  type: z.literal("remember"),
  ...memoryEntry.pick({ key: true, value: true, project: true, source: true, expiresAt: true }).shape,
  ...memoryEntry.pick({ category: true, tags: true, isPinned: true }).partial().shape,
  at: z.iso.datetime(),
});

/** A change of the memories, one line of the journal. Fields that an event omits keep their values. */
const memoryEventSchema = z.discriminatedUnion("type", [
  rememberedSchema,
  z.object({ type: z.literal("forget"), places: z.array(scopedKey) }),
  z.object({ type: z.literal("access"), places: z.array(scopedKey.extend({ count: z.int().positive() })) }),
  z.object({ type: z.literal("import"), at: z.iso.datetime(), entries: z.array(memoryEntry) }),
]);
type MemoryEvent = z.infer<typeof memoryEventSchema>;
type MemoryState = z.output<typeof memoryStateSchema>;
const memoryStateSchema = z.object({ entries: z.array(memoryEntry) }).transform(({ entries }) => ({
  // A map, so that `__proto__` is a key like any other.
  entries: new Map<MemoryId, MemoryEntry>(entries.map((entry) => [idOf(entry.project, entry.key), entry])),
}));

/** The effect of an event. */
interface MemoryChange {
  readonly put: readonly MemoryEntry[];
  readonly removed: readonly MemoryId[];
  /** Whether entries were added or removed, not just changed. */
  readonly isListChanged: boolean;
}

/** Applies an event. An entry that had expired at the event's time counts as deleted. */
function applyToMemory(state: MemoryState, event: MemoryEvent): MemoryChange {
  const { entries } = state;
  switch (event.type) {
    case "remember": {
      const id = idOf(event.project, event.key);
      const existing = living(entries.get(id), event.at);
      const entry = updated(existing, event);
      entries.set(id, entry);
      return { put: [entry], removed: [], isListChanged: existing === undefined };
    }
    case "forget": {
      const removed = event.places.map(({ project, key }) => idOf(project, key)).filter((id) => entries.delete(id));
      return { put: [], removed, isListChanged: removed.length > 0 };
    }
    case "access": {
      for (const { project, key, count } of event.places) {
        const entry = entries.get(idOf(project, key));
        if (entry === undefined) continue;
        entries.set(idOf(project, key), { ...entry, accessCount: entry.accessCount + count });
      }
      return { put: [], removed: [], isListChanged: false };
    }
    case "import": {
      const put = event.entries.map((given) => {
        const id = idOf(given.project, given.key);
        const entry = { ...given, ...previousOf(living(entries.get(id), event.at), given.value, given.previous) };
        entries.set(id, entry);
        return entry;
      });
      return { put, removed: [], isListChanged: put.length > 0 };
    }
  }
}

function living(entry: MemoryEntry | undefined, at: string): MemoryEntry | undefined {
  return entry === undefined || isExpired(entry, Date.parse(at)) ? undefined : entry;
}

function updated(existing: MemoryEntry | undefined, event: z.infer<typeof rememberedSchema>): MemoryEntry {
  const { key, value, project, at } = event;
  return {
    key,
    value,
    category: event.category ?? existing?.category ?? "fact",
    scope: project === undefined ? "global" : "project",
    ...defined({ project }),
    tags: event.tags ?? existing?.tags ?? [],
    isPinned: event.isPinned ?? existing?.isPinned ?? false,
    source: event.source,
    createdAt: existing?.createdAt ?? at,
    updatedAt: at,
    // From the event only, so that an entry that is saved again doesn't expire at its old time.
    ...defined({ expiresAt: event.expiresAt }),
    accessCount: existing?.accessCount ?? 0,
    ...previousOf(existing, value, existing?.previous),
  };
}

/** The previous value of the key, or `otherwise` where the value is the same. */
function previousOf(existing: MemoryEntry | undefined, value: string, otherwise: MemoryEntry["previous"]) {
  if (existing !== undefined && existing.value !== value) {
    return { previous: { value: existing.value, updatedAt: existing.updatedAt } };
  }
  return otherwise === undefined ? {} : { previous: otherwise };
}
