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

/** JSON of `value` with all control characters escaped; `JSON.stringify` does not escape DEL, C1 and bidirectional ones. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replaceAll(
    controls,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
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
