import * as z from "zod";
import type { MemoryEntry } from "../orchestrator/api/facade-recall.ts";
import { defineTool } from "./definition.ts";
import { shortened } from "../orchestrator/util/format-bytes.ts";
import { defined } from "../orchestrator/util/defined.ts";

/** An entry in the answers of tools; defaults are left out. */
const entryOutput = z.object({
  key: z.string(),
  value: z.string(),
  characters: z.number().optional().describe("Whole length, if cut."),
  category: z.string().optional().describe("Absent: fact."),
  scope: z.string().optional().describe("Absent: global."),
  tags: z.array(z.string()).optional(),
  pinned: z.boolean().optional(),
  updated_at: z.string(),
});

/** Characters of each value in a list, so that long values don't fill an assistant's context. */
const listedCharacters = 2_000;

/** The data of one of several entries; long values are cut. */
function listedEntryData(entry: MemoryEntry) {
  const data = entryData(entry);
  if (data.value.length <= listedCharacters) return data;
  return { ...data, value: shortened(data.value, listedCharacters), characters: data.value.length };
}

/** The data of one entry. */
function entryData({ key, value, category, scope, tags, isPinned, updatedAt }: MemoryEntry) {
  return defined({
    key,
    value,
    category: category === "fact" ? undefined : category,
    scope: scope === "global" ? undefined : scope,
    tags: tags.length === 0 ? undefined : [...tags],
    pinned: isPinned ? true : undefined,
    updated_at: updatedAt,
  });
}

const defaultLimit = 10;
/** Limit of entries, to save an assistant's context. */
const maxLimit = 100;

export const recall = defineTool({
  name: "recall",
  title: "Recall",
  description: "Find what remember saved, by key or by the meaning of query; without both, the newest.",
  effect: "read",
  input: z.strictObject({
    key: z.string().optional(),
    query: z.string().optional(),
    category: z.enum(["fact", "preference", "context"]).optional(),
    scope: z.enum(["global", "project"]).optional(),
    limit: z.number().optional(),
  }),
  output: z.object({
    entries: z.array(entryOutput),
    total: z.number(),
    method: z.enum(["key", "list", "text", "hybrid"]).describe("hybrid: words and meaning."),
  }),
  async run({ limit = defaultLimit, ...input }, { orchestrator, caller }) {
    const { entries, total, method } = await orchestrator.memories.recall(
      caller,
      defined({ ...input, limit: Math.min(limit, maxLimit) }),
    );
    return { data: { entries: entries.map(method === "key" ? entryData : listedEntryData), total, method } };
  },
  render({ entries, total, method }) {
    if (entries.length === 0) return method === "list" ? "Nothing is remembered." : "No entry matches.";
    const lines = entries.map(({ key, value, characters }) =>
      characters === undefined ? `${key}: ${value}` : `${key}: ${value} (${characters} characters; recall it by key)`,
    );
    if (total > entries.length) lines.push(`${entries.length} of ${total} entries`);
    return lines.join("\n");
  },
});
