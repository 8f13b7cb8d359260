/** What a text of a pipeline has in place of a value: `{{ inputs.folder }}`, `{{ steps.extract.items }}`. */
export interface Placeholder {
  readonly of: "inputs" | "steps";
  readonly name: string;
  /** Absent: the whole text. */
  readonly field?: string;
}

const written = /\{\{\s*(inputs|steps)\.([A-Za-z_][\w-]*)(?:\.([A-Za-z_]\w*))?\s*\}\}/g;
/** A placeholder of an earlier step in a text that has read files: what they say is none. */
const marked = /\uE000(inputs|steps)\.([A-Za-z_][\w-]*)(?:\.([A-Za-z_]\w*))?\uE001/g;

/** The value with all its texts, however deep, passed through `change`. */
function changed<Value>(value: Value, change: (text: string) => string): Value {
  if (typeof value === "string") return change(value) as Value;
  if (Array.isArray(value)) return value.map((each: unknown) => changed(each, change)) as Value;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, changed(each, change)])) as Value;
}

function read(of: string, name: string, field: string | undefined): Placeholder {
  return { of: of as Placeholder["of"], name, ...(field !== undefined && { field }) };
}

/** All placeholders in the texts of a value; `problem` has the first `{{ … }}` that is none. */
export function placeholdersIn(value: unknown): {
  readonly found: readonly Placeholder[];
  readonly problem?: string;
} {
  const found: Placeholder[] = [];
  let problem: string | undefined;
  changed(value, (text) => {
    for (const pattern of [written, marked])
      for (const [, of = "", name = "", field] of text.matchAll(pattern)) found.push(read(of, name, field));
    problem ??= /\{\{\s*[\w-]+(?:\.[\w-]+)*\s*\}\}/.exec(text.replaceAll(written, ""))?.[0];
    return text;
  });
  return { found, ...(problem !== undefined && { problem }) };
}

/** The value with the given inputs in their places, and with marks in those of steps. */
export function withInputs<Value>(value: Value, inputs: Readonly<Record<string, string>>): Value {
  return changed(value, (text) =>
    text.replaceAll(written, (_whole, of: string, name: string, field?: string) =>
      of === "inputs" ? (inputs[name] ?? "") : `\uE000${[of, name, field].filter(Boolean).join(".")}\uE001`,
    ),
  );
}

/** The mark of what a step gave, as a whole. */
export function stepMark(name: string): string {
  return `\uE000steps.${name}\uE001`;
}

/** The value with what steps gave in the places of their marks. */
export function withSteps<Value>(value: Value, valueOf: (step: string, field: string | undefined) => string): Value {
  return changed(value, (text) =>
    text.replaceAll(marked, (_whole, _of, name: string, field?: string) => valueOf(name, field)),
  );
}
