/** A piece of SQL: strings and comments are one piece each. */
const piece =
  /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|[\p{L}_][\p{L}\p{N}_$]*|[\d.]+|\s+|[<>!=|]{2}|./gsu;

/**
 * The query as it may be run: one SELECT that divides as in arithmetic (3 / 2 is 1.5). `names` are those of tables and
 * columns. Throws an `Error` that says what to change.
 */
export function checkedQuery(sql: string, names: readonly string[]): string {
  const pieces = (sql.match(piece) ?? []).filter((each) => !/^(?:--|\/\*)/.test(each));
  const end = pieces.indexOf(";");
  if (end >= 0 && pieces.slice(end).some((each) => !/^[;\s]*$/.test(each))) throw new Error("write one statement only");
  const kept = end < 0 ? pieces : pieces.slice(0, end);
  const words = kept.filter((each) => each.trim() !== "");
  if (!/^(?:select|with)$/i.test(words[0] ?? "")) throw new Error("only SELECT is allowed");
  const other = words.find((word) => /^(?:attach|detach|pragma\w*|load_extension|sqlite_\w+)$/i.test(word));
  if (other !== undefined) throw new Error(`${other} is not allowed: only SELECT from the tables is`);
  const known = new Set([...names, ...aliasesIn(words)].map((name) => name.toLowerCase()));
  const unknown = words.find((word, at) => {
    const name = /^"(.*)"$/s.exec(word)?.[1]?.toLowerCase();
    return name !== undefined && !known.has(name) && !isText(words, at);
  });
  if (unknown !== undefined) throw new Error(`no such column: ${unknown}`);
  return kept
    .map((each) => (each === "/" ? "* 1.0 /" : each.trim() === "" ? " " : each))
    .join("")
    .trim();
}

/**
 * Whether a word in double quotes is compared with something. SQLite takes every unknown name in double quotes for a text:
 * a misspelt column would be one, too.
 */
function isText(words: readonly string[], at: number): boolean {
  const before = words[at - 1] ?? "";
  if (/^(?:=|==|<>|!=|<|>|<=|>=|like|glob|between|and|then|else|\|\|)$/i.test(before)) return true;
  if (before === "(") return /^in$/i.test(words[at - 2] ?? "");
  return before === "," && /^["']/.test(words[at - 2] ?? "");
}

/** Names that a query gives its own columns and tables. */
function aliasesIn(words: readonly string[]): readonly string[] {
  return words.flatMap((word, at) => (/^as$/i.test(words[at - 1] ?? "") ? [word.replaceAll(/^"|"$/g, "")] : []));
}

/** The query in a model's answer: in its fence, else from the first SELECT on. Undefined if there is none. */
export function queryIn(answer: string): string | undefined {
  const fenced = /```(?:\w+)?\s*\n?([\s\S]*?)(?:```|$)/.exec(answer)?.[1];
  const text = fenced !== undefined && /\b(?:select|with)\b/i.test(fenced) ? fenced : answer;
  const from = /\b(?:select|with)\b[\s\S]*/i.exec(text)?.[0];
  return from === undefined || !/\bfrom\b|^select\s+\(/i.test(from) ? undefined : from.trim();
}
