import { InvalidRequest } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";

/** What a text of a pipeline has in place of a value: `{{ inputs.folder }}`, `{{ steps.extract.items }}`. */
export interface Placeholder {
  readonly of: "inputs" | "steps";
  readonly name: string;
  /** Absent: the whole text. */
  readonly field?: string;
}

const written = /\{\{\s*(inputs|steps)\.([A-Za-z_][\w-]*)(?:\.([A-Za-z_]\w*))?\s*\}\}/g;
/** What an earlier step gave, in a text whose other parts may come from files: these characters are taken out of those. */
const marked = /\uE000([A-Za-z_][\w-]*)(?:\.([A-Za-z_]\w*))?\uE001/g;
/** More than any model reads. */
const maxCharacters = 4_000_000;

/** The value with all its texts, however deep, passed through `change`. */
function changed<Value>(value: Value, change: (text: string) => string): Value {
  if (typeof value === "string") return change(value) as Value;
  if (Array.isArray(value)) return value.map((each: unknown) => changed(each, change)) as Value;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, changed(each, change)])) as Value;
}

/** All placeholders in the texts of a value as they are written; `problem` has the first double braces that are none. */
export function placeholdersIn(value: unknown) {
  const found: Placeholder[] = [];
  let problem: string | undefined;
  changed(value, (text) => {
    for (const [, of = "", name = "", field] of text.matchAll(written))
      found.push({ of: of as Placeholder["of"], name, ...(field !== undefined && { field }) });
    problem ??= /\{\{[^{}\n]*\}\}/.exec(text.replaceAll(written, ""))?.[0];
    return text;
  });
  return { found, ...(problem !== undefined && { problem }) };
}

/** The value with the given inputs in their places, and with marks in those of steps. Throws `InvalidRequest`. */
export function withInputs<Value>(value: Value, inputs: Readonly<Record<string, string>>): Value {
  const room = roomFor("the inputs");
  return changed(value, (text) =>
    text.replaceAll(written, (_whole, of: string, name: string, field?: string) =>
      of === "inputs" ? room(withoutMarks(inputs[name] ?? "")) : stepMark(name, field),
    ),
  );
}

/** The mark of what a step gave, or of a field of it. */
export function stepMark(name: string, field?: string): string {
  return `\uE000${name}${field === undefined ? "" : `.${field}`}\uE001`;
}

/** What is marked in the texts of a value. */
export function marksIn(value: unknown): readonly Omit<Placeholder, "of">[] {
  const found: Omit<Placeholder, "of">[] = [];
  changed(value, (text) => {
    for (const [, name = "", field] of text.matchAll(marked))
      found.push({ name, ...(field !== undefined && { field }) });
    return text;
  });
  return found;
}

/** The value with nothing in its texts that could be taken for a mark. */
export function withoutMarks<Value>(value: Value): Value {
  return changed(value, (text) => text.replaceAll(/[\uE000\uE001]/g, "\uFFFD"));
}

/** The value with what steps gave in the places of their marks. Throws `InvalidRequest`. */
export function withSteps<Value>(value: Value, valueOf: (step: string, field: string | undefined) => string): Value {
  const room = roomFor("what earlier steps gave");
  return changed(value, (text) =>
    text.replaceAll(marked, (_whole, name: string, field?: string) => room(valueOf(name, field))),
  );
}

function roomFor(what: string) {
  let left = maxCharacters;
  return (text: string): string => {
    left -= text.length;
    if (left >= 0) return text;
    throw new InvalidRequest(`${what} would make its prompt longer than ${maxCharacters} characters`, {
      next: advice("take it as input, which is read in parts"),
    });
  };
}

/** Whether a text says no: the condition of a step. */
export function isNo(text: string): boolean {
  return /^\s*(?:no|false|none|null|0|\[\s*\])?[\s.]*$/i.test(text);
}

/**
 * The variable without a value that a whole text (files, stdin) fills: `text`, else the only required one. Undefined if
 * there is none, or if it is ambiguous.
 */
export function openVariable(
  variables: readonly {
    readonly name: string;
    readonly type: string;
    readonly isRequired: boolean;
    readonly enum?: readonly string[];
  }[],
  given: Readonly<Record<string, unknown>>,
): string | undefined {
  const open = variables.filter(
    ({ name }) => !Object.hasOwn(given, name) || given[name] === undefined || given[name] === null,
  );
  const required = open.filter(({ isRequired }) => isRequired);
  const found = open.find(({ name }) => name === "text") ?? (required.length === 1 ? required[0] : undefined);
  // Files don't fill numbers and enums.
  return found?.type === "string" && found.enum === undefined ? found.name : undefined;
}
