import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";

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
