import { UnknownMemory } from "../orchestrator/api/errors.ts";
import { defineResource, type ResourceContext } from "./definition.ts";
import { memoryData } from "./memories.ts";

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
