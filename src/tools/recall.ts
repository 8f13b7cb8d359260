import * as z from "zod";
import { defineTool } from "./definition.ts";
import { entryData, entryOutput, listedEntryData } from "./memory-data.ts";
import { present } from "./render.ts";

const defaultLimit = 10;
/** Limit of entries, to save an assistant's context. */
const maxLimit = 100;

export const recall = defineTool({
  name: "recall",
  title: "Recall",
  description: "Find what remember saved, by key or by the meaning of query; without both, the newest.",
  effect: "read",
  isIdempotent: true,
  isOpenWorld: false,
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
    method: z.enum(["key", "list", "text", "hybrid"]).describe("hybrid: full text and meaning."),
  }),
  async run({ limit = defaultLimit, ...input }, { orchestrator, caller }) {
    const { entries, total, method } = await orchestrator.memories.recall(
      caller,
      present({ ...input, limit: Math.min(limit, maxLimit) }),
    );
    return { data: { entries: entries.map(method === "key" ? entryData : listedEntryData), total, method } };
  },
  render({ entries, total, method }) {
    if (entries.length === 0) return method === "list" ? "Nothing is remembered." : `No entry matches (${method}).`;
    const lines = entries.map(({ key, value, characters }) =>
      characters === undefined ? `${key}: ${value}` : `${key}: ${value} (${characters} characters; recall it by key)`,
    );
    const rest = total > entries.length ? `, ${entries.length} of ${total}` : "";
    return [...lines, `(${method}${rest})`].join("\n");
  },
});
