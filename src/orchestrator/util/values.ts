/**
 * Maximum nesting depth of external JSON. Messages, manifests and stores have fewer than twenty levels, and a deeper JSON
 * Schema can't be compiled into a grammar.
 */
export const maxJsonDepth = 128;

const quote = 0x22;
const backslash = 0x5c;

/**
 * Whether arrays and objects nest deeper than `maxDepth`, found by counting brackets: 4 MB of `[[[…` take `JSON.parse`
 * 200 MB and a second, and such a value overflows the stack of recursive code.
 */
export function isTooDeep(text: string, maxDepth: number = maxJsonDepth): boolean {
  let opened = 0;
  // [ and {, then ] and }: each pair differs by 0x20.
  for (let at = 0; at < text.length && opened <= maxDepth; at += 1) {
    if ((text.charCodeAt(at) | 0x20) === 0x7b) opened += 1;
  }
  // Few texts have so many brackets, in strings or not, that they must be told apart.
  return opened > maxDepth && nestsDeeper(text, maxDepth);
}

function nestsDeeper(text: string, maxDepth: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = endOfString(text, at + 1);
      // Unterminated: JSON.parse will throw, and the text up to here is not too deep.
      if (at === -1) return false;
    } else if ((code | 0x20) === 0x7b) {
      depth += 1;
      if (depth > maxDepth) return true;
    } else if ((code | 0x20) === 0x7d) depth -= 1;
  }
  return false;
}

/** The index of the closing quote of a string; -1 if there is none. */
function endOfString(text: string, from: number): number {
  for (let at = from; ; at += 1) {
    at = text.indexOf('"', at);
    if (at === -1) return -1;
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === backslash && at - 1 - escapes >= from) escapes += 1;
    if (escapes % 2 === 0) return at;
  }
}

/** `JSON.parse` for external text. Throws `SyntaxError` also for more than `maxJsonDepth` levels. */
export function parseJson(text: string): unknown {
  // A shorter one is not that deep, or does not close what it opens.
  if (text.length > 2 * maxJsonDepth && isTooDeep(text))
    throw new SyntaxError(`it nests deeper than ${maxJsonDepth} levels`);
  return JSON.parse(text);
}

/** The value of external text that is JSON; undefined for any other. */
export function jsonIn(text: string): unknown {
  return orUndefined(() => parseJson(text));
}

/** The fields of external text that is an object of JSON; none for any other. */
export function fieldsIn(text: string): Readonly<Record<string, unknown>> {
  const value = jsonIn(text);
  return isRecord(value) ? value : {};
}

/** Whether a value is an object of JSON. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Percent-encoded text of an address; undefined if it is malformed. */
export function decoded(text: string): string | undefined {
  return orUndefined(() => decodeURIComponent(text));
}

/** The message of anything thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** With its stack, for the log. */
export function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}

/** What `read` returns; undefined if it throws, whatever the reason. */
export function orUndefined<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** The value of `key`, which `make` returns if there is none. */
export function getOrInsert<Key, Value>(
  map: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

/** A function that calls `make` the first time only, and returns its value each time. */
export function once<Value>(make: () => Value): () => Value {
  let made: { value?: Value } | undefined;
  return () => {
    // Kept before it is called: a `make` that throws isn't called again either.
    if (made !== undefined) return made.value as Value;
    made = {};
    return (made.value = make());
  };
}

/** The code of an error of the system: `ENOENT`; undefined for anything else. */
export function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown ? String(thrown.code) : undefined;
}

/** Whether a file was not found. ENOTDIR: a part of its path is a file. */
export function isMissing(thrown: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(codeOf(thrown) ?? "");
}

/** For `catch`: a file that was not found has no value; any other error is thrown on. */
export function undefinedIfMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

/** The properties that may be left out of `Given`, and so the ones whose value may be undefined in it. */
type Optional<Given> = { [Key in keyof Given]: undefined extends Given[Key] ? Key : never }[keyof Given];

/** A copy without the properties that are undefined: `exactOptionalPropertyTypes` tells absent from undefined. */
export function defined<Given extends object>(
  given: Given,
): Omit<Given, Optional<Given> & keyof Given> & {
  [Key in Optional<Given> & keyof Given]?: Exclude<Given[Key], undefined>;
} {
  const found: Record<string, unknown> = {};
  for (const key in given) if (given[key] !== undefined) found[key] = given[key];
  return found as never;
}

type Snake<Name> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${Snake<Rest>}`
  : Name;

/** A copy with the names that outputs have: `firstTokenMs` becomes `first_token_ms`. Its values stay as they are. */
export function snaked<Given extends object>(
  given: Given,
): { readonly [Key in keyof Given as Snake<Key>]: Given[Key] } {
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => [
      key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  ) as never;
}

/** The same of some properties. */
export function snakedOnly<Given extends object, Key extends keyof Given & string>(
  given: Given,
  keys: readonly Key[],
): { readonly [Each in Key as Snake<Each>]: Given[Each] } {
  const known = keys.filter((key) => given[key] !== undefined);
  return snaked(Object.fromEntries(known.map((key) => [key, given[key]]))) as never;
}

/** Each as JSON in a line of its own, with the names that outputs have. */
export function jsonLines(rows: readonly object[]): string {
  return rows.map((row) => `${JSON.stringify(snaked(row))}\n`).join("");
}

/**
 * Rows as CSV (RFC 4180). A text that a spreadsheet would take for a formula gets an apostrophe before it: names of clients
 * are chosen by other programs.
 */
export function csvOf(rows: readonly (readonly (string | number | undefined)[])[]): string {
  return rows.map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
}

function csvCell(cell: string | number = ""): string {
  const text = String(cell);
  const safe = /^[=+\-@]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Whole days; 0 if it is not known since when. Milliseconds since the epoch. */
export function daysSince(sinceMs: number | undefined, nowMs: number): number {
  return sinceMs === undefined ? 0 : Math.max(0, Math.floor((nowMs - sinceMs) / 86_400_000));
}
