import * as z from "zod";
import { InvalidRequest } from "../orchestrator/errors.ts";
import { defineTool } from "./definition.ts";
import { present } from "./render.ts";

export const transferMemories = defineTool({
  name: "transfer_memories",
  title: "Export or import memories",
  description: "export: all that is remembered, as one text. import: takes in such a text; what it names is replaced.",
  effect: "write",
  isIdempotent: true,
  isOpenWorld: false,
  input: z.strictObject({
    action: z.enum(["export", "import"]),
    format: z.enum(["json", "markdown"]).default("json"),
    text: z.string().optional().describe("To import."),
    force: z.boolean().optional().describe("Takes what looks like a secret too."),
  }),
  output: z.object({
    text: z.string().optional(),
    imported: z.number().optional(),
    refused: z.array(z.string()).optional().describe("What was not taken, and why."),
  }),
  async run({ action, format, text, force }, { orchestrator, caller }) {
    const { memories } = orchestrator;
    if (action === "export") return { data: { text: await memories.export(caller, format) } };
    if (text === undefined) {
      throw new InvalidRequest("there is no text to import", {
        hint: "Hand it in as text; export writes such a text.",
      });
    }
    const { imported, refused } = await memories.import(caller, text, format, present({ isForced: force }));
    return { data: present({ imported, refused: refused.length === 0 ? undefined : [...refused] }) };
  },
  render({ text, imported = 0, refused = [] }) {
    if (text !== undefined) return text;
    return [`Imported ${imported}`, ...refused].join("\n");
  },
});
