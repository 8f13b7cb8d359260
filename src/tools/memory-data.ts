import * as z from "zod";
import type { MemoryEntry } from "../orchestrator/api/facade-recall.ts";
import { present } from "./render.ts";

/** An entry in the answers of tools; defaults are left out. */
export const entryOutput = z.object({
  key: z.string(),
  value: z.string(),
  characters: z.number().optional().describe("Length of the value if it is cut here; recall by key returns all of it."),
  category: z.string().optional().describe("Absent: fact."),
  scope: z.string().optional().describe("Absent: global."),
  tags: z.array(z.string()).optional(),
  pinned: z.boolean().optional(),
  updated_at: z.string(),
});

/** Characters of each value in a list, so that long values don't fill an assistant's context. */
const listedCharacters = 2_000;

/** The data of one of several entries; long values are cut. */
export function listedEntryData(entry: MemoryEntry) {
  const data = entryData(entry);
  if (data.value.length <= listedCharacters) return data;
  return { ...data, value: `${data.value.slice(0, listedCharacters)}…`, characters: data.value.length };
}

/** The data of one entry. */
export function entryData({ key, value, category, scope, tags, isPinned, updatedAt }: MemoryEntry) {
  return present({
    key,
    value,
    category: category === "fact" ? undefined : category,
    scope: scope === "global" ? undefined : scope,
    tags: tags.length === 0 ? undefined : [...tags],
    pinned: isPinned ? true : undefined,
    updated_at: updatedAt,
  });
}
