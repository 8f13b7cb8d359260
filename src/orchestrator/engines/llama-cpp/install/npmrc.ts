/** Environment variables, injected so that an installation does not depend on its caller. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** One source of npm's configuration; a key may have several values (`ca[]`, `noproxy[]`). */
export type NpmrcValues = ReadonlyMap<string, readonly string[]>;

/**
 * Parses an `.npmrc` like npm (package `ini`, without sections): comments start with `;` or `#`, also after an unquoted
 * value; values may be quoted; `key[] = value` is a list; a key without a value means true; `${NAME}` is replaced from the
 * environment, `${NAME?}` is empty when unset, and `\${` is not replaced.
 */
export function parseNpmrc(text: string, environment: Environment): NpmrcValues {
  const values = new Map<string, string[]>();
  for (const line of text.split(/[\r\n]+/)) {
    const trimmed = line.trim();
    if (trimmed === "" || /^[;#[]/.test(trimmed)) continue;
    const equals = trimmed.indexOf("=");
    const rawKey = expand(unquote(equals < 0 ? trimmed : trimmed.slice(0, equals)), environment);
    const value = equals < 0 ? "true" : expand(unquote(trimmed.slice(equals + 1)), environment);
    const isList = rawKey.endsWith("[]");
    const key = isList ? rawKey.slice(0, -2) : rawKey;
    values.set(key, isList ? [...(values.get(key) ?? []), value] : [value]);
  }
  return values;
}

/** Returns the `npm_config_*` variables, in any case; addresses (`npm_config_//host/:_authToken`) keep theirs. */
export function npmVariables(environment: Environment): NpmrcValues {
  const values = new Map<string, readonly string[]>();
  for (const [variable, value] of Object.entries(environment)) {
    if (!/^npm_config_/i.test(variable) || value === undefined || value === "") continue;
    const key = variable.slice("npm_config_".length);
    const isAddress = key.startsWith("//") || key.startsWith("@");
    values.set(isAddress ? key : key.replace(/(?!^)_/g, "-").toLowerCase(), value.split("\n\n"));
  }
  return values;
}

function unquote(raw: string): string {
  const text = raw.trim();
  if (/^(".*"|'.*')$/.test(text)) {
    const inner = text.slice(1, -1);
    if (text.startsWith("'")) return inner;
    try {
      return String(JSON.parse(text));
    } catch {
      return inner; // like npm, which keeps an invalid string unchanged
    }
  }
  let value = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? "";
    const next = text[at + 1] ?? "";
    if (character === "\\" && /[\\;#]/.test(next)) {
      value += next;
      at += 1;
    } else if (character === ";" || character === "#") break;
    else value += character;
  }
  return value.trim();
}

function expand(text: string, environment: Environment): string {
  return text.replace(/(\\*)\$\{([^${}?]+)(\?)?\}/g, (match, slashes: string, name: string, isOptional?: string) => {
    if (slashes.length % 2 === 1) return match.slice((slashes.length + 1) / 2);
    const value = environment[name] ?? (isOptional === undefined ? match.slice(slashes.length) : "");
    return slashes.slice(slashes.length / 2) + value;
  });
}
