import * as z from "zod";
import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import type { GenerateRequest, Orchestrator } from "../orchestrator/api/facade.ts";
import {
  type CreateTemplateRequest,
  type ReadFiles,
  type Template,
  missingVariables,
} from "../orchestrator/api/facade-templates.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { type AnswerOptions, samplingFrom, samplingInput } from "../orchestrator/api/sampling.ts";
import type { CallerContext } from "../orchestrator/api/types.ts";
import { defined } from "../orchestrator/util/values.ts";
import { confirmation, defineTool, writesByModel } from "./definition.ts";
import { finishReasonOutput, noteLines, notesFor } from "./render.ts";

/** A filled template, with its options as those of a generation. */
export type FilledTemplate = { readonly text: string; readonly hasFiles: boolean } & Pick<
  GenerateRequest,
  "system" | "model" | "profile" | "format" | "split"
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
  // A text that came from files is read in parts if it is too long, as files of a prompt are.
  const split = hasFiles ? ("auto" as const) : undefined;
  return { text, hasFiles, ...defined({ system, model, profile, format, split, ...options }) };
}

/** The value of a variable. */
const scalar = z.union([z.string(), z.number(), z.boolean()]);

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
    variables: z.record(z.string(), scalar).optional(),
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
    const result = await follow(await orchestrator.generate(caller, { prompt: text, ...how }));
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

export const listTemplates = defineTool({
  name: "list_templates",
  title: "List prompt templates",
  description: "List prompt templates with their variables, for route_and_generate.",
  effect: "read",
  input: z.strictObject({ query: z.string().optional() }),
  output: z.object({
    templates: z.array(
      z.object({
        name: z.string(),
        description: z.string(),
        variables: z.array(z.string()).optional().describe('"tone?" is optional.'),
        source: z.string().optional(),
        hides: z.string().optional().describe("Source of the template of the same name that it hides."),
      }),
    ),
    problems: z.array(z.string()).optional(),
  }),
  async run({ query = "" }, { orchestrator, caller }) {
    const { templates, problems } = await orchestrator.templates.list(caller);
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = templates.filter(({ name, description }) => {
      const text = `${name} ${description}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    return {
      data: defined({ templates: matching.map(entryOf), problems: problems.length > 0 ? [...problems] : undefined }),
    };
  },
  render({ templates, problems = [] }) {
    const lines = templates.map(({ name, description, variables, source, hides }) => {
      const holes = variables === undefined ? "" : ` (${variables.join(", ")})`;
      const hidden = hides === undefined ? "" : `, hides the ${hides} one`;
      const origin = source === undefined ? "" : ` [${source}${hidden}]`;
      return `${name}${holes}: ${description}${origin}`;
    });
    return [...(lines.length > 0 ? lines : ["No template matches."]), ...problems].join("\n");
  },
});

function entryOf({ name, description, variables, source, hides }: Template) {
  return defined({
    name,
    description,
    variables:
      variables.length > 0 ? variables.map((each) => (each.isRequired ? each.name : `${each.name}?`)) : undefined,
    source: source === "built-in" ? undefined : source,
    hides,
  });
}

const variableInput = z.strictObject({
  name: z.string().min(1),
  required: z.boolean().optional(),
  default: scalar.optional(),
  description: z.string().optional(),
  enum: z.array(scalar).optional(),
  type: z.enum(["string", "number", "boolean"]).optional(),
});

export const createTemplate = defineTool({
  name: "create_template",
  title: "Create a prompt template",
  description: "Save a prompt template: {name} and {name:default} are variables, {{ and }} are braces.",
  effect: "write",
  set: "extra",
  input: z.strictObject({
    name: z.string().min(1),
    template: z.string().min(1),
    description: z.string().optional(),
    variables: z.array(variableInput).optional().describe("Only those that need more than a name."),
    system: z.string().optional(),
    model: z.string().min(1).optional(),
    profile: z.string().min(1).optional(),
    ...samplingInput(false),
    max_tokens: z.number().optional(),
    format: z.union([z.literal("json"), z.record(z.string(), z.unknown())]).optional(),
    scope: z.enum(["user", "project"]).optional(),
    overwrite: z.boolean().optional(),
  }),
  output: z.object({
    name: z.string(),
    file: z.string(),
    variables: z.array(z.string()),
    hides: z.string().optional(),
    note: z.string().optional(),
  }),
  async run({ overwrite, variables, max_tokens, ...given }, { orchestrator, caller }) {
    const options = { ...samplingFrom(given), ...defined({ maxTokens: max_tokens }) };
    const isOption = (name: string) => name in samplingInput(false);
    const input = Object.fromEntries(Object.entries(given).filter(([name]) => !isOption(name)));
    const template = await orchestrator.templates.create(caller, {
      ...(defined(input) as unknown as Omit<CreateTemplateRequest, "variables">),
      ...(Object.keys(options).length > 0 && { options }),
      ...defined({ mayOverwrite: overwrite }),
      ...(variables !== undefined && { variables: variables.map(variableOf) }),
    });
    const isHeld = template.source === "project" && caller.project?.isTrusted !== true;
    return {
      data: defined({
        name: template.name,
        file: template.file,
        variables: template.variables.map(({ name }) => name),
        hides: template.hides,
        note: isHeld ? "not used until the user approves the project (ollm project trust)" : undefined,
      }),
    };
  },
  render({ name, file, variables, hides, note }) {
    const hidden = hides === undefined ? "" : `, hiding the ${hides} one`;
    const found = variables.length === 0 ? "It has no variables." : `Variables: ${variables.join(", ")}`;
    return [`Saved template ${name} in ${file}${hidden}`, found, note].filter(Boolean).join("\n");
  },
});

function variableOf({ required, default: fallback, enum: values, ...rest }: z.output<typeof variableInput>) {
  return defined({
    ...rest,
    isRequired: required,
    default: fallback === undefined ? undefined : String(fallback),
    enum: values?.map(String),
  });
}

export const deleteTemplate = defineTool({
  name: "delete_template",
  title: "Delete a prompt template",
  description: "Delete a prompt template of the user (asks the user, or confirm true); built-in ones stay.",
  effect: "destroy",
  isIdempotent: false,
  set: "extra",
  input: z.strictObject({ name: z.string().min(1), confirm: z.boolean().optional() }),
  output: z.object({ name: z.string(), file: z.string(), shown_again: z.string().optional() }),
  async run({ name, confirm }, { orchestrator, caller }) {
    const { templates } = orchestrator;
    const found = await templates.get(caller, name);
    if (found.source === "user" && confirm !== true) {
      return confirmation(`Delete template ${found.name}?`, `true deletes ${found.file}`);
    }
    const removed = await templates.remove(caller, found.name);
    return { data: defined({ name: removed.name, file: removed.file, shown_again: removed.hides }) };
  },
  render: ({ name, file, shown_again }) =>
    `Deleted template ${name} (${file})${shown_again === undefined ? "" : `; the ${shown_again} one is used again`}`,
});
