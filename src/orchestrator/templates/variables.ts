import type { TemplateVariable } from "../api/facade-templates.ts";
import { InvalidRequest } from "../api/errors.ts";
import { nearestNames } from "../util/nearest.ts";
import type { Hole, Piece } from "./render.ts";

/** A variable as declared in a template; absent fields have their defaults. */
export interface DeclaredVariable {
  readonly name: string;
  readonly required?: boolean | undefined;
  readonly default?: string | undefined;
  readonly description?: string | undefined;
  readonly enum?: readonly string[] | undefined;
  readonly type?: TemplateVariable["type"] | undefined;
}

/** A problem of a template and its position: `index` of a declared variable, or `line` of `part`. */
export interface VariableProblem {
  readonly problem: string;
  readonly at: { readonly index: number } | { readonly part: "template" | "system"; readonly line: number };
}

export interface TemplateParts {
  readonly template: readonly Piece[];
  readonly system: readonly Piece[];
}

export function isHole(piece: Piece): piece is Hole {
  return typeof piece !== "string";
}

/**
 * Declared variables in their order, then those that are only used in the text; or the first problem. A variable that is
 * not declared is required unless the text has a default for it.
 */
export function variablesOf(
  declared: readonly DeclaredVariable[],
  parts: TemplateParts,
): { readonly variables: readonly TemplateVariable[] } | VariableProblem {
  const found = new Map<string, { readonly default?: string; readonly position: string }>();
  for (const part of ["template", "system"] as const) {
    for (const hole of parts[part].filter(isHole)) {
      const at = { part, line: hole.line };
      const position = `${part} line ${hole.line}`;
      if (hole.name === "__proto__") return { problem: "a variable can't have the name __proto__", at };
      const known = found.get(hole.name);
      if (known?.default !== undefined && hole.default !== undefined && known.default !== hole.default) {
        const both = `${JSON.stringify(known.default)} (${known.position}) and ${JSON.stringify(hole.default)} (${position})`;
        return { problem: `variable ${hole.name} has two defaults, ${both}: keep one`, at };
      }
      if (known === undefined || (known.default === undefined && hole.default !== undefined)) {
        found.set(hole.name, { position, ...(hole.default !== undefined && { default: hole.default }) });
      }
    }
  }
  const variables = new Map<string, TemplateVariable>();
  for (const [index, variable] of declared.entries()) {
    const { name } = variable;
    const at = { index };
    if (variables.has(name)) return { problem: `variable ${name} is declared twice: keep one`, at };
    const inText = found.get(name);
    if (inText === undefined) {
      const [close] = nearestNames(name, [...found.keys()], 1);
      const advice = close === undefined ? `write {${name}} where it goes, or remove it` : `did you mean ${close}?`;
      return { problem: `variable ${name} is not used in the text; ${advice}`, at };
    }
    if (variable.default !== undefined && inText.default !== undefined && variable.default !== inText.default) {
      const both = `${JSON.stringify(variable.default)} (declared) and ${JSON.stringify(inText.default)} (${inText.position})`;
      return { problem: `variable ${name} has two defaults, ${both}: keep one`, at };
    }
    const fallback = variable.default ?? inText.default;
    const complete: TemplateVariable = {
      name,
      type: variable.type ?? "string",
      isRequired: variable.required ?? fallback === undefined,
      ...(fallback !== undefined && { default: fallback }),
      ...(variable.description !== undefined && { description: variable.description }),
      ...(variable.enum !== undefined && { enum: variable.enum }),
    };
    // Any type accepts an empty default.
    const wrong = fallback === undefined || fallback === "" ? undefined : problemOf(complete, fallback);
    if (wrong !== undefined) return { problem: `the default of ${wrong}`, at };
    variables.set(name, complete);
  }
  for (const [name, { default: fallback }] of found) {
    if (variables.has(name)) continue;
    const optional = fallback === undefined ? {} : { default: fallback };
    variables.set(name, { name, type: "string", isRequired: fallback === undefined, ...optional });
  }
  return { variables: [...variables.values()] };
}

/**
 * The value of every variable, or the required ones that were not given. Throws `InvalidRequest` that names all unknown
 * variables and invalid values.
 */
export function valuesOf(
  template: { readonly name: string; readonly variables: readonly TemplateVariable[] },
  given: Readonly<Record<string, unknown>>,
): { readonly values: ReadonlyMap<string, string> } | { readonly missing: readonly TemplateVariable[] } {
  const { variables } = template;
  const names = variables.map(({ name }) => name);
  const problems = Object.keys(given)
    .filter((name) => !names.includes(name))
    .map((name) => {
      const [close] = nearestNames(name, names, 1);
      const advice = close === undefined ? `it has ${names.join(", ") || "none"}` : `did you mean "${close}"?`;
      return `template ${template.name} has no variable "${name}", ${advice}`;
    });
  const values = new Map<string, string>();
  for (const variable of variables) {
    const value = Object.hasOwn(given, variable.name) ? given[variable.name] : undefined;
    if (value === undefined || value === null) continue;
    const text = typeof value === "string" ? value : JSON.stringify(value);
    const wrong = problemOf(variable, text);
    if (wrong === undefined) values.set(variable.name, text);
    else problems.push(wrong);
  }
  if (problems.length > 0) {
    throw new InvalidRequest(problems.join("; "), { next: { step: "correctArguments" } });
  }
  const missing = variables.filter(({ name, isRequired }) => isRequired && !values.has(name));
  if (missing.length > 0) return { missing };
  for (const { name, default: fallback = "" } of variables) if (!values.has(name)) values.set(name, fallback);
  return { values };
}

/** Why a text is invalid for a variable, starting with the variable's name; undefined for a valid one. */
function problemOf({ name, type, enum: allowed }: TemplateVariable, text: string): string | undefined {
  if (type === "number" && (text.trim() === "" || !Number.isFinite(Number(text)))) {
    return `variable ${name} must be a number, got ${shown(text)}`;
  }
  if (type === "boolean" && text !== "true" && text !== "false") {
    return `variable ${name} must be true or false, got ${shown(text)}`;
  }
  if (allowed === undefined || allowed.includes(text)) return undefined;
  const [close] = nearestNames(text, allowed, 1);
  const advice = close === undefined ? "" : `; did you mean ${JSON.stringify(close)}?`;
  return `variable ${name} must be one of ${allowed.join(", ")}, got ${shown(text)}${advice}`;
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
