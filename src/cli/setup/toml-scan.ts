/** A line (or, for values that span lines, a few) of a TOML document that says something. */
export type TomlStatement =
  | {
      readonly kind: "table" | "array";
      readonly path: readonly string[];
      /** First character of its line. */
      readonly start: number;
      /** Behind its line's end. */
      readonly end: number;
    }
  | {
      readonly kind: "pair";
      /** The table's path and the key's own. */
      readonly path: readonly string[];
      /** How many of `path` are the table's. */
      readonly tableDepth: number;
      readonly start: number;
      readonly end: number;
      /** The key as it is written. */
      readonly keyStart: number;
      readonly valueStart: number;
      readonly valueEnd: number;
    };

/** Where each statement of a *valid* TOML document stands. Comments and empty lines lie between statements. */
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
      // Never stand still, whatever the text.
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
    // An escape that JSON lacks (\e, \x41, \U0001F600): no key of ours, so its spelling will do to tell it apart.
    return text.slice(1, -1);
  }
}
