import { UnknownMemory } from "../orchestrator/api/errors.ts";
import { snaked } from "../orchestrator/util/defined.ts";
import type { MemoryEntry } from "../orchestrator/api/facade-recall.ts";
import { type ResourceContext, defineResource } from "./definition.ts";

/** Limit of entries; others are found by their key or a query. */
const maxEntries = 200;
/** Limit for all values together; clients would not accept a larger message. */
const maxCharacters = 1_000_000;

export const memories = defineResource({
  name: "memory",
  title: "Memories",
  description: `Facts, preferences and context saved across sessions; the newest ${maxEntries}.`,
  uri: "ollm://memory",
  isTouchedBy: ({ kind }) => kind === "memories",
  async read(_variables, { orchestrator, caller }) {
    const { entries, total } = await orchestrator.memories.recall(caller, { limit: maxEntries });
    return { entries: entries.slice(0, fitting(entries)).map(memoryData), total };
  },
});

/** How many entries fit in `maxCharacters`. */
function fitting(entries: readonly MemoryEntry[]): number {
  let left = maxCharacters;
  const beyond = entries.findIndex(({ value, previous }) => {
    left -= value.length + (previous?.value.length ?? 0);
    return left < 0;
  });
  return beyond === -1 ? entries.length : beyond;
}

/** All data of an entry, for resources. */
function memoryData({ isPinned, previous, ...entry }: MemoryEntry) {
  return { ...snaked(entry), pinned: isPinned, previous: previous && snaked(previous) };
}

/** Limit of listed entries, because clients show every listed resource in their menus. */
const maxListed = 200;

export const memoryEntry = defineResource({
  name: "memory-entry",
  title: "Memory",
  description: "One memory, by its percent-encoded key, with its previous value.",
  uri: "ollm://memory/{key}",
  isTouchedBy: ({ kind }) => kind === "memories",
  async read({ key = "" }, { orchestrator, caller }) {
    const [entry] = (await orchestrator.memories.recall(caller, { key })).entries;
    if (entry === undefined) throw new UnknownMemory(`nothing is remembered under ${key}`);
    return memoryData(entry);
  },
  async list(context) {
    const keys = await keysOf(context);
    return keys.slice(0, maxListed).map((key) => ({ uri: `ollm://memory/${encodeURIComponent(key)}`, name: key }));
  },
  values: keysOf,
});

/** Keys visible to the caller, newest first; a key in both the project and the global scope is listed once. */
async function keysOf({ orchestrator, caller }: ResourceContext): Promise<readonly string[]> {
  return [...new Set(await orchestrator.memories.matching(caller, { isAll: true }))];
}
