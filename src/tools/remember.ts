import * as z from "zod";
import { isShell } from "../orchestrator/api/types.ts";
import { confirmation, defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";
import { shortened } from "../orchestrator/util/format-bytes.ts";

/** Characters of the replaced value that are returned. */
const shownCharacters = 200;

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
    category: z.enum(["fact", "preference", "context"]).optional(),
    scope: z.enum(["global", "project"]).optional(),
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
        replaced: isNew ? undefined : entry.previous && shortened(entry.previous.value, shownCharacters),
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
