import * as z from "zod";
import type { MemoryEntry } from "../api/facade-recall.ts";
import { entrySchema, idOf, isExpired } from "./entry.ts";
import type { MemoryId } from "./search.ts";

/** Format of `memory.json` and its journal. */
export const schemaVersion = 1;

export interface MemoryState {
  /** A map, so that `__proto__` is a key like any other. */
  readonly entries: Map<MemoryId, MemoryEntry>;
}

const scopedKey = z.object({ key: z.string(), project: z.string().exactOptional() });

const rememberedSchema = z.object({
  type: z.literal("remember"),
  ...entrySchema.pick({ key: true, value: true, project: true, source: true, expiresAt: true }).shape,
  ...entrySchema.pick({ category: true, tags: true, isPinned: true }).partial().shape,
  at: z.iso.datetime(),
});

/** A change of the memories, one line of the journal. Fields that an event omits keep their values. */
export const memoryEventSchema = z.discriminatedUnion("type", [
  rememberedSchema,
  z.object({ type: z.literal("forget"), places: z.array(scopedKey) }),
  z.object({ type: z.literal("access"), places: z.array(scopedKey.extend({ count: z.int().positive() })) }),
  z.object({ type: z.literal("import"), at: z.iso.datetime(), entries: z.array(entrySchema) }),
]);
export type MemoryEvent = z.infer<typeof memoryEventSchema>;
type RememberEvent = z.infer<typeof rememberedSchema>;

export const memoryStateSchema: z.ZodType<MemoryState> = z
  .object({ entries: z.array(entrySchema) })
  .transform(({ entries }) => ({
    entries: new Map<MemoryId, MemoryEntry>(entries.map((entry) => [idOf(entry.project, entry.key), entry])),
  }));

/** The effect of an event. */
export interface MemoryChange {
  readonly put: readonly MemoryEntry[];
  readonly removed: readonly MemoryId[];
  /** Whether entries were added or removed, not just changed. */
  readonly isListChanged: boolean;
}

/** Applies an event. An entry that had expired at the event's time counts as deleted. */
export function applyToMemory(state: MemoryState, event: MemoryEvent): MemoryChange {
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

function updated(existing: MemoryEntry | undefined, event: RememberEvent): MemoryEntry {
  const { key, value, project, at } = event;
  return {
    key,
    value,
    category: event.category ?? existing?.category ?? "fact",
    scope: project === undefined ? "global" : "project",
    ...(project === undefined ? {} : { project }),
    tags: event.tags ?? existing?.tags ?? [],
    isPinned: event.isPinned ?? existing?.isPinned ?? false,
    source: event.source,
    createdAt: existing?.createdAt ?? at,
    updatedAt: at,
    // From the event only, so that an entry that is saved again doesn't expire at its old time.
    ...(event.expiresAt === undefined ? {} : { expiresAt: event.expiresAt }),
    accessCount: existing?.accessCount ?? 0,
    ...previousOf(existing, value, existing?.previous),
  };
}

/** The previous value of the key, or `otherwise` where the value is the same. */
function previousOf(
  existing: MemoryEntry | undefined,
  value: string,
  otherwise: MemoryEntry["previous"],
): Pick<MemoryEntry, "previous"> {
  if (existing !== undefined && existing.value !== value) {
    return { previous: { value: existing.value, updatedAt: existing.updatedAt } };
  }
  return otherwise === undefined ? {} : { previous: otherwise };
}
