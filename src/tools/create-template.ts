import { samplingFrom, samplingInput } from "../orchestrator/api/sampling.ts";
import * as z from "zod";
import type { CreateTemplateRequest } from "../orchestrator/api/facade-templates.ts";
import { defineTool } from "./definition.ts";
import { defined } from "../orchestrator/util/defined.ts";

const scalar = z.union([z.string(), z.number(), z.boolean()]);

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
