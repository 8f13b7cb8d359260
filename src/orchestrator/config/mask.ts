/** Texts under such keys are shown to nobody; `maxTokens` and its like are numbers. */
const secretKey = /(token|key|secret|password)$/i;

/** A value as it may be shown: neither passwords in addresses nor what a key calls a secret. */
export function masked(path: readonly string[], value: unknown): unknown {
  if (typeof value === "string") {
    if (secretKey.test(path.at(-1) ?? "")) return "***";
    // A password may hold a slash, and an address needs no scheme.
    return value.includes("//")
      ? value.replaceAll(/\/\/[^@\s]*@/g, "//***@")
      : value.replace(/^[^@\s/]*:[^@\s]*@/, "***@");
  }
  if (Array.isArray(value)) return value.map((item) => masked(path, item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, masked([...path, key], child)]));
}

/** As JSON in one line of at most 200 characters, masked; `unset` where there is nothing. */
export function shownValue(path: readonly string[], value: unknown): string {
  if (value === undefined) return "unset";
  // JSON would make `null` of `.nan` and `.inf`.
  const text = typeof value === "number" ? String(value) : (JSON.stringify(masked(path, value)) ?? "");
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}
