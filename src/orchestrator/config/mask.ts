/** Texts under such keys are never shown; `maxTokens` and the like are numbers. */
const secretKey = /(token|key|secret|password)$/i;

/** A copy of the value without passwords in addresses and values of secret keys. */
export function masked(path: readonly string[], value: unknown): unknown {
  if (typeof value === "string") {
    if (secretKey.test(path.at(-1) ?? "")) return "***";
    // A password may contain a slash, and an address may lack a scheme.
    return value.includes("//")
      ? value.replaceAll(/\/\/[^@\s]*@/g, "//***@")
      : value.replace(/^[^@\s/]*:[^@\s]*@/, "***@");
  }
  if (Array.isArray(value)) return value.map((item) => masked(path, item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, masked([...path, key], child)]));
}

/** The masked value as one line of JSON of at most 200 characters; `unset` for undefined. */
export function shownValue(path: readonly string[], value: unknown): string {
  if (value === undefined) return "unset";
  // JSON would write `.nan` and `.inf` as `null`.
  const text = typeof value === "number" ? String(value) : (JSON.stringify(masked(path, value)) ?? "");
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}
