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
