/** Prefixes of the keys of well-known services: `sk-...`, `gsk_...`, `AIza...`, and signed tokens. */
const knownKey =
  /(?<![A-Za-z0-9])(?:(?:sk|rk|pk|ak|gsk|xai|hf|nvapi|key)[-_](?=[\w-]{0,100}[0-9A-Z])[\w-]{12,400}|AIza[\w-]{20,400}|eyJ[\w-]{10,4000}\.[\w.-]{1,8000})/;
/** A word without meaning: long, of letters and several digits. */
const randomWord = /^(?=(?:[^0-9]*[0-9]){4})(?=.*[A-Za-z])[A-Za-z0-9]{24,}$/;

/** A key by its name: `"apiKey": "..."`, `api_key: ...`. */
const namedKey = /((?:\b|_)(?:api[-_]?)?key\\?["']?\s*[:=]\s*\\?["']?)[^\s"'\\,}\]]{6,}/gi;

/** Whether a text is, or contains, what looks like a key of a service. */
export function looksLikeKey(text: string): boolean {
  return knownKey.test(text) || randomWord.test(text.trim());
}

/** The text with `***` in place of what looks like a key. */
export function hideKeys(text: string): string {
  return randomWord.test(text.trim())
    ? "***"
    : text.replaceAll(namedKey, "$1***").replaceAll(new RegExp(knownKey, "g"), "***");
}
