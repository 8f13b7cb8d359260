import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import type { MemoryEntry } from "../orchestrator/api/facade-recall.ts";
import { isShell } from "../orchestrator/api/types.ts";
import { defined } from "../orchestrator/util/values.ts";
import { counted, shortened } from "../orchestrator/util/format-bytes.ts";
import { confirmation, defineTool } from "./definition.ts";

/** Characters of the replaced value that are returned. */
const shownValue = 200;

const kindAndScope = {
  category: z.enum(["fact", "preference", "context"]).optional(),
  scope: z.enum(["global", "project"]).optional(),
};

export const remember = defineTool({
  name: "remember",
  title: "Remember",
  description:
    "Save a lasting fact or preference; local models get relevant ones with each prompt. The same key replaces its value.",
  effect: "write",
  isIdempotent: true,
  set: "needed",
  input: z.strictObject({
    key: z.string(),
    value: z.string(),
    ...kindAndScope,
    tags: z.array(z.string()).optional(),
    pinned: z.boolean().optional().describe("In every prompt."),
    ttl: z.number().optional().describe("Seconds."),
    force: z.boolean().optional().describe("Even if it looks like a secret."),
  }),
  output: z.object({
    key: z.string(),
    replaced: z.string().optional().describe("Previous value."),
    expires_at: z.string().optional(),
    similar: z.array(z.string()).optional(),
  }),
  async run({ key, value, category, scope, tags, pinned, ttl, force }, { orchestrator, caller }) {
    // The shell's own words name its option.
    const secret =
      force === true || isShell(caller.client) ? undefined : orchestrator.memories.secretIn({ key, value });
    if (secret !== undefined) {
      const message = `The value looks like ${secret}. Local models get saved entries in prompts. Save it anyway?`;
      return confirmation(message, "true saves it", "force");
    }
    const request = { key, value, category, scope, tags, isPinned: pinned, ttlSeconds: ttl, isForced: force };
    const { entry, isNew, similarKeys } = await orchestrator.memories.remember(caller, defined(request));
    return {
      data: defined({
        key: entry.key,
        replaced: isNew ? undefined : entry.previous && shortened(entry.previous.value, shownValue),
        expires_at: entry.expiresAt,
        similar: similarKeys.length === 0 ? undefined : similarKeys,
      }),
    };
  },
  render({ key, replaced, expires_at, similar }) {
    const parts = [
      replaced === undefined ? `Remembered ${key}` : `Remembered ${key}, in place of: ${replaced}`,
      ...(expires_at === undefined ? [] : [`until ${expires_at}`]),
      ...(similar === undefined ? [] : [`similar: ${similar.join(", ")}`]),
    ];
    return parts.join("; ");
  },
});

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
    ...kindAndScope,
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

/** Number of keys listed in a question or an answer. */
const shownKeys = 20;

export const forget = defineTool({
  name: "forget",
  title: "Forget",
  description: "Delete what remember saved: one key, or all of a category or scope (asks the user, or confirm true).",
  effect: "destroy",
  input: z.strictObject({
    key: z.string().optional(),
    all: z.boolean().optional().describe("Everything, unless category or scope narrow it."),
    ...kindAndScope,
    confirm: z.boolean().optional(),
  }),
  output: z.object({ forgotten: z.array(z.string()).describe("The first 20 keys."), total: z.number() }),
  async run(input, { orchestrator, caller }) {
    const { memories } = orchestrator;
    const { key, all, category, scope, confirm } = input;
    if (key === undefined && all !== true && category === undefined && scope === undefined) {
      throw new InvalidRequest("forget needs a key, a category, a scope or all true", {
        next: [{ step: "setArgument", argument: "key" }, { step: "listMemories" }],
      });
    }
    if (key !== undefined && all === true) {
      throw new InvalidRequest("forget takes a key or all, not both", { next: { step: "correctArguments" } });
    }
    const request = defined({ key, category, scope, isAll: all });
    const keys = await memories.matching(caller, request);
    // A key is exact; a category or scope may match more than was meant, so always ask.
    const isNamed = key !== undefined && keys.length <= 1;
    if (!isNamed && keys.length > 0 && confirm !== true) {
      return confirmation(
        `Forget ${counted(keys.length, "entry", "entries")} (${keysText(keys)})?`,
        "true deletes them",
      );
    }
    const forgotten = await memories.forget(caller, request);
    return { data: { forgotten: forgotten.slice(0, shownKeys), total: forgotten.length } };
  },
  render: ({ forgotten, total }) => (total === 0 ? "Nothing matches." : `Forgot ${keysText(forgotten, total)}`),
});

function keysText(keys: readonly string[], total = keys.length): string {
  const first = keys.slice(0, shownKeys);
  const rest = total - first.length;
  return rest > 0 ? `${first.join(", ")} and ${rest} more` : first.join(", ");
}

/** Characters of a page: a small message, even when escaped twice and sent in both forms. */
const pageChars = 400_000;

export const transferMemories = defineTool({
  name: "transfer_memories",
  title: "Export or import memories",
  description: "export: all saved entries, page by page. import: reads such a text; existing keys are overwritten.",
  effect: "write",
  isIdempotent: true,
  set: "extra",
  input: z.strictObject({
    action: z.enum(["export", "import"]),
    format: z.enum(["json", "markdown"]).default("json"),
    text: z.string().optional().describe("To import."),
    after: z.string().optional().describe("For export: next of the previous page."),
    force: z.boolean().optional().describe("Import secrets, too."),
  }),
  output: z.object({
    text: z.string().optional(),
    next: z.string().optional().describe("There are more pages."),
    imported: z.number().optional(),
    refused: z.array(z.string()).optional().describe("Entries that were not imported, and why."),
  }),
  async run({ action, format, text, after, force }, { orchestrator, caller }) {
    const { memories } = orchestrator;
    if (action === "export") {
      return { data: { ...(await memories.export(caller, format, defined({ after, maxChars: pageChars }))) } };
    }
    if (text === undefined) {
      throw new InvalidRequest("import needs a text, as export returns it", { next: { step: "correctArguments" } });
    }
    const { imported, refused } = await memories.import(caller, text, format, defined({ isForced: force }));
    return { data: defined({ imported, refused: refused.length === 0 ? undefined : refused }) };
  },
  render({ text, next, imported = 0, refused = [] }) {
    if (text !== undefined) return next === undefined ? text : [text, `More: export after ${JSON.stringify(next)}`];
    return [`Imported ${imported}`, ...refused].join("\n");
  },
});
