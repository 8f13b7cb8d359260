import type { AnswerOptions } from "../orchestrator/api/sampling.ts";
import * as z from "zod";
import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import { type ReadFiles, missingVariables } from "../orchestrator/api/facade-templates.ts";
import type { GenerateRequest, Orchestrator } from "../orchestrator/api/facade.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import type { CallerContext } from "../orchestrator/api/types.ts";
import { defineTool, writesByModel } from "./definition.ts";
import { finishReasonOutput, noteLines, notesFor } from "./render.ts";
import { defined } from "../orchestrator/util/defined.ts";

/** A filled template, with its options as those of a generation. */
export type FilledTemplate = { readonly text: string; readonly hasFiles: boolean } & Pick<
  GenerateRequest,
  "system" | "model" | "profile" | "format"
> &
  AnswerOptions;

/**
 * Fills a template, or returns the question for missing values, whose answers are merged into `variables`. For tools with
 * the inputs `template` (or `name`), `variables` and `files`. Throws `UnknownTemplate`, and `InvalidRequest` for unknown
 * variables and values that are not allowed.
 */
export async function renderedFrom(
  orchestrator: Orchestrator,
  caller: CallerContext,
  name: string,
  variables: Readonly<Record<string, string | number | boolean>> = {},
  readFiles?: ReadFiles,
): Promise<FilledTemplate | { readonly needsInput: NeedsInput }> {
  const outcome = await orchestrator.templates.render(caller, name, variables, readFiles);
  if ("missing" in outcome) return { needsInput: missingVariables(outcome, "variables") };
  const { template, text, system, hasFiles } = outcome.rendered;
  const { model, profile, format, options } = template;
  return { text, hasFiles, ...defined({ system, model, profile, format, ...options }) };
}

/** A text that came from files is read in parts if it is too long, as files of a prompt are. */
export function splitOf({ hasFiles }: FilledTemplate): Pick<GenerateRequest, "split"> {
  return hasFiles ? { split: "auto" } : {};
}

/** The input `variables` of a tool. */
const variablesInput = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

export const renderTemplate = defineTool({
  name: "render_template",
  title: "Fill in a prompt template",
  description:
    "Fill in a prompt template, with the text of files, and return it; generate: have a local model answer it.",
  ...writesByModel,
  // `template` of route_and_generate is what an assistant needs.
  set: "extra",
  input: z.strictObject({
    name: z.string().min(1).describe("From list_templates."),
    variables: variablesInput.optional(),
    files: z.array(z.string()).optional(),
    generate: z.boolean().optional(),
  }),
  output: z.object({
    text: z.string(),
    system: z.string().optional(),
    model: z.string().optional(),
    task: z.string().optional(),
    finish_reason: finishReasonOutput.optional(),
    notes: z.array(z.string()).optional(),
  }),
  async run({ name, variables, files: names = [], generate }, { orchestrator, caller, files, follow }) {
    const readFiles = names.length === 0 ? undefined : () => files.readText(names);
    const filled = await renderedFrom(orchestrator, caller, name, variables, readFiles);
    if ("needsInput" in filled) return filled;
    const { text, hasFiles, ...how } = filled;
    if (readFiles !== undefined && !hasFiles) {
      throw new InvalidRequest(
        `files fill no variable of ${name}: it has no variable "text", and no other required one is unset`,
        { next: [{ step: "omitArgument", argument: "files" }, advice("leave out the variable that they are for")] },
      );
    }
    if (generate !== true) return { data: defined({ text, system: how.system }) };
    const result = await follow(await orchestrator.generate(caller, { prompt: text, ...how, ...splitOf(filled) }));
    return {
      data: defined({
        text: result.text,
        model: result.model,
        task: result.route.task,
        finish_reason: result.finishReason,
        notes: notesFor(caller, [...result.notes, ...files.notes()]),
      }),
    };
  },
  lean: ({ task: _task, finish_reason, ...answered }) =>
    finish_reason === "stop" ? answered : { ...answered, ...defined({ finish_reason }) },
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
