import * as z from "zod";
import { defineTool } from "./definition.ts";
import { noteLines, finishReasonOutput, present } from "./render.ts";
import { renderedFrom } from "./template-input.ts";

/** What `template` and `variables` of a tool may hold. */
export const variablesInput = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

export const renderTemplate = defineTool({
  name: "render_template",
  title: "Fill in a prompt template",
  description: "Fills a prompt template's variables and returns its text; generate answers it with a local model.",
  effect: "write",
  isIdempotent: false,
  isOpenWorld: true,
  canBecomeJob: true,
  usesProject: true,
  input: z.strictObject({
    name: z.string().min(1).describe("From list_templates."),
    variables: variablesInput.optional(),
    generate: z.boolean().optional(),
  }),
  output: z.object({
    text: z.string(),
    system: z.string().optional(),
    model: z.string().optional(),
    finish_reason: finishReasonOutput.optional(),
    notes: z.array(z.string()).optional(),
  }),
  async run({ name, variables, generate }, { orchestrator, caller, follow }) {
    const filled = await renderedFrom(orchestrator, caller, name, variables);
    if ("needsInput" in filled) return filled;
    const { text, ...how } = filled;
    if (generate !== true) return { data: present({ text, system: how.system }) };
    const result = await follow(await orchestrator.generate(caller, { prompt: text, ...how }));
    return {
      data: present({
        text: result.text,
        model: result.model,
        finish_reason: result.finishReason,
        notes: result.notes.length > 0 ? [...result.notes] : undefined,
      }),
    };
  },
  render({ text, system, model, finish_reason, notes }) {
    if (model === undefined) {
      const rest = [...(system === undefined ? [] : [`system: ${system}`]), ...noteLines(notes)];
      return rest.length === 0 ? text : [text, rest.join("\n")];
    }
    return [
      text,
      [`${model}${finish_reason === "length" ? ", cut at max_tokens" : ""}`, ...noteLines(notes)].join("\n"),
    ];
  },
});
