import * as z from "zod";
import type { MemoryEntry } from "../orchestrator/facade-recall.ts";
import { present } from "./render.ts";

/** Fields of an entry as tools answer them: what is the usual case is left out. */
export const entryOutput = z.object({
  key: z.string(),
  value: z.string(),
  characters: z.number().optional().describe("Of the value, where only its beginning is here: recall it by its key."),
  category: z.string().optional().describe("Absent: fact."),
  scope: z.string().optional().describe("Absent: global."),
  tags: z.array(z.string()).optional(),
  pinned: z.boolean().optional(),
  updated_at: z.string(),
});

/** Of each value in a list: a handful of long ones would fill an assistant's context. */
const listedCharacters = 2_000;

/** The plain data of one of several entries; long values are cut. */
export function listedEntryData(entry: MemoryEntry) {
  const data = entryData(entry);
  if (data.value.length <= listedCharacters) return data;
  return { ...data, value: `${data.value.slice(0, listedCharacters)}…`, characters: data.value.length };
}

/** The plain data of one entry. */
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
