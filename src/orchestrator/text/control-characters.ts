import { stripVTControlCharacters } from "node:util";

/**
 * What steers a terminal or reorders what it shows: C0 but tab and line feed, DEL, C1, Unicode's bidirectional controls
 * (Bidi_Control; CVE-2021-42574) and its line and paragraph separators.
 */
const controls = /(?![\t\n])[\p{Control}\p{Bidi_Control}\u2028\u2029]/gu;

/** Without control characters; lines and tabs stay. What stood behind an escape stays too, as plain text. */
export function withoutControls(text: string): string {
  return text.replaceAll(controls, "");
}

/** What a model, a file or a registry wrote, as one line; escape sequences go as a whole. */
export function oneLine(text: string): string {
  const line = withoutControls(stripVTControlCharacters(text).replaceAll(/\s/g, " "));
  return line.replaceAll(/ {2,}/g, " ").trim();
}

/** JSON of `value` with every control character escaped: `JSON.stringify` leaves DEL, C1 and bidirectional ones as they are. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replaceAll(
    controls,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
