/** Templates as a form edits them: what it shows, and what it sends. */
import type { ResourceData } from "../resources/index.ts";
import type { ToolInputs } from "../tools/index.ts";
import { type FieldProblem, partsOf } from "./format.ts";
import { defined, isRecord, jsonIn } from "../orchestrator/util/values.ts";

export const emptyVariable = {
  name: "",
  description: "",
  fallback: "",
  /** Separated by commas. */
  values: "",
  type: "string" as "string" | "number" | "boolean",
  isRequired: true,
};

/** A variable, its list of values as text. */
type VariableDraft = Readonly<typeof emptyVariable>;

export const emptyDraft = {
  name: "",
  description: "",
  template: "",
  system: "",
  model: "",
  profile: "",
  temperature: "",
  topP: "",
  maxTokens: "",
  /** Empty, `json` or a JSON Schema. */
  format: "",
  variables: [] as readonly VariableDraft[],
};

/** The content of the fields, as text. */
export type TemplateDraft = Readonly<typeof emptyDraft>;

export function draftOf(template: ResourceData["ollm://templates/{name}"]): TemplateDraft {
  const { options = {}, format } = template;
  return {
    name: template.name,
    description: template.description,
    template: template.template,
    system: template.system ?? "",
    model: template.model ?? "",
    profile: template.profile ?? "",
    temperature: textOf(options.temperature),
    topP: textOf(options.topP),
    maxTokens: textOf(options.maxTokens),
    format: format === undefined || typeof format === "string" ? (format ?? "") : JSON.stringify(format, undefined, 2),
    variables: template.variables.map((variable) => ({
      name: variable.name,
      description: variable.description ?? "",
      fallback: variable.default ?? "",
      values: (variable.enum ?? []).join(", "),
      type: variable.type,
      isRequired: variable.required,
    })),
  };
}

function textOf(value: number | undefined): string {
  return value === undefined ? "" : String(value);
}

/** The input of `create_template`, or the first problem that the daemon could not name in terms of the form. */
export function inputOf(
  draft: TemplateDraft,
): { readonly input: ToolInputs["create_template"] } | FieldProblem<TemplateDraft> {
  const numbers: Record<string, number> = {};
  for (const [field, key] of [
    ["temperature", "temperature"],
    ["topP", "top_p"],
    ["maxTokens", "max_tokens"],
  ] as const) {
    const text = draft[field].trim();
    if (text === "") continue;
    const value = Number(text);
    if (Number.isNaN(value)) return { field, message: `"${text}" is not a number.` };
    numbers[key] = value;
  }
  const format = formatOf(draft.format.trim());
  if (format === "invalid") return { field: "format", message: "Write json, a JSON Schema, or leave it empty." };
  const texts = Object.fromEntries(
    (["description", "system", "model", "profile"] as const).flatMap((field) =>
      draft[field].trim() === "" ? [] : [[field, draft[field]]],
    ),
  );
  const variables = draft.variables.filter(({ name }) => name.trim() !== "").map(variableOf);
  return {
    input: {
      name: draft.name.trim(),
      template: draft.template,
      ...texts,
      ...numbers,
      ...defined({ format }),
      ...(variables.length > 0 && { variables }),
    },
  };
}

function formatOf(text: string): "json" | Record<string, unknown> | "invalid" | undefined {
  if (text === "") return undefined;
  if (text === "json") return "json";
  const parsed = jsonIn(text);
  return isRecord(parsed) ? parsed : "invalid";
}

function variableOf({ name, description, fallback, values, type, isRequired }: VariableDraft) {
  const allowed = partsOf(values);
  return {
    name: name.trim(),
    required: isRequired,
    type,
    ...(description.trim() !== "" && { description }),
    ...(fallback !== "" && { default: fallback }),
    ...(allowed.length > 0 && { enum: allowed }),
  };
}

/** Where an error of the daemon belongs: `line 3 of template`, `options.temperature must be ...`. */
export function placeOf(message: string): Omit<FieldProblem<TemplateDraft>, "message"> | undefined {
  const line = /line (\d+) of (template|system)/.exec(message);
  if (line !== null) return { field: line[2] as "template" | "system", line: Number(line[1]) };
  if (/"name"|not a valid name|already a template|already exists/.test(message)) return { field: "name" };
  const option = /options\.(temperature|topP|maxTokens)/.exec(message)?.[1];
  if (option !== undefined) return { field: option as "temperature" | "topP" | "maxTokens" };
  if (message.includes("no profile")) return { field: "profile" };
  return /\bvariables?\b|defaults/.test(message) ? { field: "variables" } : undefined;
}
