/** A value as one line of YAML, valid in block and flow style. */
export function inOneLine(value: unknown): string {
  if (typeof value === "string") return isPlain(value) ? value : JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(inOneLine).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).filter(([, child]) => child !== undefined);
  return `{${entries.map(([key, child]) => `${inOneLine(key)}: ${inOneLine(child)}`).join(", ")}}`;
}

/** `a: {b: value}` for `[a, b]`. */
export function inFlow(path: readonly string[], value: unknown): string {
  const [key = "", ...rest] = path;
  return `${inOneLine(key)}: ${rest.length === 0 ? inOneLine(value) : `{${inFlow(rest, value)}}`}`;
}

/** `a:` and `  b: value` as lines, each with `indent` before it and a line end after it. */
export function inBlock(path: readonly string[], value: unknown, indent: string, lineEnd: string): string {
  const [key = "", ...rest] = path;
  if (rest.length === 0) return `${indent}${inOneLine(key)}: ${inOneLine(value)}${lineEnd}`;
  return `${indent}${inOneLine(key)}:${lineEnd}${inBlock(rest, value, `${indent}  `, lineEnd)}`;
}

/** Words, model names, paths and addresses need no quotes. */
function isPlain(text: string): boolean {
  if (/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text)) return false;
  return /^[a-z_/][\w./@+-]*(?::[\w./@+-]+)*$/i.test(text);
}
