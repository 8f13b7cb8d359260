/** Whether a value of parsed YAML or JSON is an object, not a list or null. */
export function isTree(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
