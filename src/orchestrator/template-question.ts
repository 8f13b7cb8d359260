import type { RenderOutcome, TemplateVariable } from "./facade-templates.ts";
import type { NeededField, NeedsInput } from "./needs-input.ts";

/** The question for what a template still needs; `into` names the input that holds the variables, if one does. */
export function missingVariables(
  { missing, template, fromFiles }: Extract<RenderOutcome, { readonly missing: unknown }>,
  into?: string,
): NeedsInput {
  const names = missing.map(({ name }) => name).join(", ");
  return {
    message: `Template ${template.name} needs ${names}.`,
    fields: Object.fromEntries(
      missing.map((variable) => [variable.name, fieldOf(variable, into, variable.name === fromFiles)]),
    ),
  };
}

function fieldOf(variable: TemplateVariable, into: string | undefined, isFromFiles: boolean): NeededField {
  const { type, name, description, enum: values, default: fallback } = variable;
  return {
    type,
    description: description ?? name,
    isRequired: true,
    ...(values !== undefined && { enum: values }),
    ...(fallback !== undefined && fallback !== "" && { default: typed(type, fallback) }),
    ...(into !== undefined && { into }),
    ...(isFromFiles && { isFromFiles }),
  };
}

/** Offered by the form: required variables may have a default all the same. */
function typed(type: TemplateVariable["type"], text: string): string | number | boolean {
  if (type === "number") return Number(text);
  return type === "boolean" ? text === "true" : text;
}
