import * as z from "zod";
import type { MemoryEntry } from "../orchestrator/facade-recall.ts";
import { present } from "./render.ts";

/** Fields of an entry as tools answer them: what is the usual case is left out. */
export const entryOutput = z.object({
  key: z.string(),
  value: z.string(),
  category: z.string().optional().describe("Absent: fact."),
  scope: z.string().optional().describe("Absent: global."),
  tags: z.array(z.string()).optional(),
  pinned: z.boolean().optional(),
  updated_at: z.string(),
});

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
