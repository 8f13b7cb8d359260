import type { RenderOutcome, TemplateVariable } from "./facade-templates.ts";
import type { NeededField, NeedsInput } from "./needs-input.ts";

/** Asks for the missing variables of a template; `into` is the input that contains the variables, if any. */
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

/** The default value for the form; required variables may have one, too. */
function typed(type: TemplateVariable["type"], text: string): string | number | boolean {
  if (type === "number") return Number(text);
  return type === "boolean" ? text === "true" : text;
}
