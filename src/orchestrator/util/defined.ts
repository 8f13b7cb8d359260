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
