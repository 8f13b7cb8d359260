/** An object of parsed YAML or JSON: no list, not null. */
export function isTree(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
