/** A table header or key/value pair of a TOML document; a value may span several lines. */
export type TomlStatement =
  | {
      readonly kind: "table" | "array";
      readonly path: readonly string[];
      /** Offset of the first character of its line. */
      readonly start: number;
      /** Offset after its line break. */
      readonly end: number;
    }
  | {
      readonly kind: "pair";
      /** The path of the table, followed by that of the key. */
      readonly path: readonly string[];
      /** Length of the path of the table. */
      readonly tableDepth: number;
      readonly start: number;
      readonly end: number;
      /** Offset of the key. */
      readonly keyStart: number;
      readonly valueStart: number;
      readonly valueEnd: number;
    };

/** Finds the statements of a *valid* TOML document; comments and empty lines are not statements. */
export function scanToml(text: string): readonly TomlStatement[] {
  const statements: TomlStatement[] = [];
  let table: readonly string[] = [];
  let at = 0;
  const skip = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? "";
    at += found.length;
    return found;
  };
  const blank = (): string => skip(/[ \t]*/y);
  const lineEnd = (): string => skip(/[^\n]*\n?/y);

  const key = (): string => {
    if (text[at] === '"') return unquote(skip(/"(?:[^"\\]|\\.)*"/y));
    if (text[at] === "'") return skip(/'[^']*'/y).slice(1, -1);
    return skip(/[A-Za-z0-9_-]*/y);
  };
  const path = (): readonly string[] => {
    const parts = [key()];
    blank();
    while (text[at] === ".") {
      at += 1;
      blank();
      parts.push(key());
      blank();
    }
    return parts;
  };

  while (at < text.length) {
    const start = at;
    blank();
    const character = text[at];
    if (character === undefined || character === "#" || character === "\n" || character === "\r") {
      lineEnd();
      // Always advance, whatever the text.
      if (at === start) at += 1;
      continue;
    }
    if (character === "[") {
      const kind = text.startsWith("[[", at) ? "array" : "table";
      at += kind === "array" ? 2 : 1;
      blank();
      table = path();
      lineEnd();
      statements.push({ kind, path: table, start, end: at });
      continue;
    }
    const keyStart = at;
    const own = path();
    at += 1; // =
    blank();
    const valueStart = at;
    const valueEnd = endOfValue(text, at);
    at = Math.max(valueEnd, valueStart);
    lineEnd();
    if (at === start) at += 1;
    const tableDepth = table.length;
    statements.push({
      kind: "pair",
      path: [...table, ...own],
      tableDepth,
      start,
      end: at,
      keyStart,
      valueStart,
      valueEnd,
    });
  }
  return statements;
}

const valueParts =
  /"""(?:[^\\]|\\[^])*?"{3,5}|'''[^]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[[\]{}]|\r?\n|[^"'#[\]{}\r\n]+|\r/y;

function endOfValue(text: string, start: number): number {
  let depth = 0;
  let at = start;
  let end = start;
  for (;;) {
    valueParts.lastIndex = at;
    const part = valueParts.exec(text)?.[0];
    if (part === undefined) return end;
    const isBreak = part === "\n" || part === "\r\n";
    if (depth === 0 && (isBreak || part.startsWith("#"))) return end;
    if (part === "[" || part === "{") depth += 1;
    if (part === "]" || part === "}") depth -= 1;
    at += part.length;
    if (part.trim() !== "" && !part.startsWith("#")) end = at - (part.length - part.trimEnd().length);
  }
}

function unquote(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch {
    // An escape that JSON lacks (\e, \x41, \U0001F600): not a key of ours, so its source text is enough.
    return text.slice(1, -1);
  }
}
