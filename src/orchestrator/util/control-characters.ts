import { stripVTControlCharacters } from "node:util";

/**
 * Characters that control a terminal or reorder its text: C0 except tab and line feed, DEL, C1, Unicode's bidirectional
 * controls (Bidi_Control; CVE-2021-42574), and its line and paragraph separators.
 */
const controls = /(?![\t\n])[\p{Control}\p{Bidi_Control}\u2028\u2029]/gu;

/** The text without control characters except tab and line feed. The rest of an escape sequence remains as text. */
export function withoutControls(text: string): string {
  return text.replaceAll(controls, "");
}

/** A text from a model, file or registry as one line, without escape sequences and control characters. */
export function oneLine(text: string): string {
  const line = withoutControls(stripVTControlCharacters(text).replaceAll(/\s/g, " "));
  return line.replaceAll(/ {2,}/g, " ").trim();
}

/** What a text that is quoted as data in a prompt must not contain: tags, tokens of chat templates (`<|im_start|>`), what is not seen. */
const unquoted = /[<>\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * JSON of `value` with all control characters escaped; `JSON.stringify` does not escape DEL, C1 and bidirectional ones. In
 * a prompt, angle brackets and invisible characters, too.
 */
export function jsonText(value: unknown, indent?: number, isInPrompt = false): string {
  return JSON.stringify(value, undefined, indent).replaceAll(isInPrompt ? unquoted : controls, (found) =>
    found.replaceAll(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
  );
}

/** Control, format and other invisible characters, except the selector of coloured emoji. */
export const invisible = /(?!\uFE0F)[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2028\u2029\u2800]/gu;

const maxNameCharacters = 100;

/** A name as it is counted: clients and pages choose theirs. Names are joined by line feeds (`keyOf`). */
export function cleanName(name: string): string {
  const short = name.length > maxNameCharacters ? `${name.slice(0, maxNameCharacters)}…` : name;
  return /[\p{C}\p{Zl}\p{Zp}]/u.test(short) ? short.replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ").trim() : short;
}

/** Prefixes of the keys of well-known services: `sk-...`, `gsk_...`, `AIza...`, and signed tokens (their first part is read once). */
const knownKey =
  /(?<![A-Za-z0-9])(?:(?:sk|rk|pk|ak|gsk|xai|hf|nvapi|key)[-_](?=[\w-]{0,100}[0-9A-Z])[\w-]{12,400}|AIza[\w-]{20,400}|eyJ(?=([\w-]{10,4000}))\1\.[\w.-]{1,8000})/;
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
