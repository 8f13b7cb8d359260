import * as z from "zod";
import { InvalidRequest } from "../api/errors.ts";
import type { TemplateVariable } from "../api/facade-templates.ts";
import { advice } from "../api/next-step.ts";
import { frameFile } from "../util/file-name.ts";
import { meantBy, nearestNames } from "../util/nearest.ts";
import { defined } from "../util/values.ts";

/** A use of a variable: `{name}`, or `{name:default}` with a default that may be empty. */
interface Hole {
  readonly name: string;
  readonly default?: string;
  /** In its text, from 1. */
  readonly line: number;
}

/** Literal text, or a hole. */
type Piece = string | Hole;

/** A long value may be used many times; no model reads as much as this. */
const maxFilledCharacters = 16 * 1024 ** 2;

/** Every brace and hole. Linear: a hole can't contain the start of another. */
const marks = /\{\{|\{([A-Za-z_][A-Za-z0-9_]*)(?::([^{}\n\r]*))?\}|[{}]/g;

/**
 * The pieces of a template, in one pass over its text.
 *
 * | in the text                          | is                                                              |
 * |--------------------------------------|-----------------------------------------------------------------|
 * | `{{`                                 | `{`                                                             |
 * | `{name}`, `{name:default}`           | a hole; the default is on one line and has no braces, but spaces |
 * |                                      | count: `{a: 1}` is a hole, `{{a: 1}}` is code                   |
 * | any other `{`                        | itself: the start of code or JSON                               |
 * | `}` that closes such a start         | itself, so that `{"a": {"b": 1}}` keeps both of its last braces |
 * | `}}` otherwise                       | `}`                                                             |
 * | any other `}`                        | itself                                                          |
 */
export function piecesOf(text: string): readonly Piece[] {
  const pieces: Piece[] = [];
  const mark = new RegExp(marks);
  let plain = "";
  let openBraces = 0;
  let line = 1;
  let position = 0;
  for (let match = mark.exec(text); match !== null; match = mark.exec(text)) {
    const [whole, name, fallback] = match;
    const before = text.slice(position, match.index);
    line += newlinesIn(before);
    plain += before;
    position = match.index + whole.length;
    if (name !== undefined) {
      if (plain !== "") pieces.push(plain);
      plain = "";
      pieces.push({ name, line, ...defined({ default: fallback }) });
    } else if (whole === "}") {
      plain += "}";
      if (openBraces > 0) openBraces -= 1;
      else if (text[position] === "}") position += 1;
    } else {
      plain += "{";
      if (whole === "{") openBraces += 1;
    }
    mark.lastIndex = position;
  }
  plain += text.slice(position);
  if (plain !== "") pieces.push(plain);
  return pieces;
}

/** The first `{{name}}`: a variable in other programs, here the text `{name}`. */
export function doubledHole(
  text: string,
): { readonly written: string; readonly name: string; readonly line: number } | undefined {
  // Three braces are a brace and a hole.
  const match = /(?<!\{)\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}(?!\})/.exec(text);
  if (match === null) return undefined;
  const [written, name = ""] = match;
  return { written, name, line: newlinesIn(text.slice(0, match.index)) + 1 };
}

/**
 * The text with its holes filled. Values are inserted as they are, without expanding them. Throws `InvalidRequest` before
 * building a text that would be too long.
 */
export function fill(pieces: readonly Piece[], valueOf: (name: string) => string): string {
  const parts = pieces.map((piece) => (typeof piece === "string" ? piece : valueOf(piece.name)));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > maxFilledCharacters) {
    throw new InvalidRequest(
      `the filled template would have ${length} characters; at most ${maxFilledCharacters} are allowed`,
      { next: advice("give shorter values") },
    );
  }
  return parts.join("");
}

function newlinesIn(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/**
 * The value that files give a variable: the text of a single file, or each of several files in a frame with its name. A
 * single text is framed, too, if it contains what ends the variable in the template (`</text>`).
 */
export function filesValue(
  files: readonly { readonly path: string; readonly text: string }[],
  pieces: readonly Piece[],
  variable: string,
): string {
  const [first, ...more] = files;
  if (first === undefined) return "";
  const isPlain = more.length === 0 && endsOf(pieces, variable).every((end) => !first.text.includes(end));
  return isPlain ? first.text : files.map(frameFile).join("").trimEnd();
}

/**
 * The texts that mark the end of the variable at each of its uses: the next non-empty line where the variable ends its
 * line, else marks on the same line. Words on the same line are no marks.
 */
function endsOf(pieces: readonly Piece[], variable: string): readonly string[] {
  return pieces.flatMap((piece, index) => {
    if (typeof piece === "string" || piece.name !== variable) return [];
    const behind = pieces[index + 1];
    if (typeof behind !== "string") return [];
    const [sameLine = "", ...below] = behind.split(/\r?\n/);
    const end = (sameLine.trim() === "" ? below.find((line) => line.trim() !== "") : sameLine)?.trim() ?? "";
    const isMark = /^[^\p{L}\p{N}\s]{2}|^<\/?\p{L}/u.test(end);
    return end !== "" && (isMark || sameLine.trim() === "") ? [end] : [];
  });
}

const scalar = z.union([z.string(), z.number(), z.boolean()]).transform(String);

/** A variable as a template's file declares it. */
export const declaredVariable = z.strictObject({
  name: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be letters, digits and _, no digit first"),
  required: z.boolean().optional(),
  default: scalar.optional(),
  description: z.string().optional(),
  enum: z.array(scalar).min(1).optional(),
  type: z.enum(["string", "number", "boolean"]).optional(),
});

/**
 * Declared variables in their order, then those that are only used in the text; or the first problem. A variable that is
 * not declared is required unless the text has a default for it.
 */
export function variablesOf(
  declared: readonly z.output<typeof declaredVariable>[],
  parts: { readonly template: readonly Piece[]; readonly system: readonly Piece[] },
):
  | { readonly variables: readonly TemplateVariable[] }
  | {
      readonly problem: string;
      readonly at: { readonly index: number } | { readonly part: "template" | "system"; readonly line: number };
    } {
  const found = new Map<string, { readonly default?: string; readonly position: string }>();
  for (const part of ["template", "system"] as const) {
    for (const hole of parts[part].filter((piece) => typeof piece !== "string")) {
      const at = { part, line: hole.line };
      const position = `${part} line ${hole.line}`;
      if (hole.name === "__proto__") return { problem: "a variable can't have the name __proto__", at };
      const known = found.get(hole.name);
      if (known?.default !== undefined && hole.default !== undefined && known.default !== hole.default) {
        const both = `${JSON.stringify(known.default)} (${known.position}) and ${JSON.stringify(hole.default)} (${position})`;
        return { problem: `variable ${hole.name} has two defaults, ${both}: keep one`, at };
      }
      if (known === undefined || (known.default === undefined && hole.default !== undefined)) {
        found.set(hole.name, { position, ...defined({ default: hole.default }) });
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
      const remedy = meantBy(name, [...found.keys()], `; write {${name}} where it goes, or remove it`);
      return { problem: `variable ${name} is not used in the text${remedy}`, at };
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
      ...defined({ default: fallback, description: variable.description, enum: variable.enum }),
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
      const remedy = close === undefined ? `it has ${names.join(", ") || "none"}` : `did you mean "${close}"?`;
      return `template ${template.name} has no variable "${name}", ${remedy}`;
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
  if (problems.length > 0) throw new InvalidRequest(problems.join("; "), { next: { step: "correctArguments" } });
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
  const remedy = close === undefined ? "" : `; did you mean ${JSON.stringify(close)}?`;
  return `variable ${name} must be one of ${allowed.join(", ")}, got ${shown(text)}${remedy}`;
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
