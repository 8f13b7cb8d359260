import { InvalidRequest } from "../api/errors.ts";
import { advice } from "../api/next-step.ts";
import { frameFile } from "../util/file-frame.ts";

/** A use of a variable: `{name}`, or `{name:default}` with a default that may be empty. */
export interface Hole {
  readonly name: string;
  readonly default?: string;
  /** In its text, from 1. */
  readonly line: number;
}

/** Literal text, or a hole. */
export type Piece = string | Hole;

/** A long value may be used many times; no model reads as much as this. */
const maxFilledCharacters = 16 * 1024 ** 2;

/** Every brace and hole. Linear: a hole can't contain the start of another. */
const marks = /\{\{|\{([A-Za-z_][A-Za-z0-9_]*)(?::([^{}\n\r]*))?\}|[{}]/g;

/**
 * The pieces of a template, in one pass over its text.
 *
 * | in the text                          | is                                                              |
 * |--------------------------------------|-----------------------------------------------------------------|
 * | `{{`                                 | `{`                                                             |
 * | `{name}`, `{name:default}`           | a hole; the default is on one line and has no braces, but spaces |
 * |                                      | count: `{a: 1}` is a hole, `{{a: 1}}` is code                   |
 * | any other `{`                        | itself: the start of code or JSON                               |
 * | `}` that closes such a start         | itself, so that `{"a": {"b": 1}}` keeps both of its last braces |
 * | `}}` otherwise                       | `}`                                                             |
 * | any other `}`                        | itself                                                          |
 */
export function piecesOf(text: string): readonly Piece[] {
  const pieces: Piece[] = [];
  const mark = new RegExp(marks);
  let plain = "";
  let openBraces = 0;
  let line = 1;
  let position = 0;
  for (let match = mark.exec(text); match !== null; match = mark.exec(text)) {
    const [whole, name, fallback] = match;
    const before = text.slice(position, match.index);
    line += newlinesIn(before);
    plain += before;
    position = match.index + whole.length;
    if (name !== undefined) {
      if (plain !== "") pieces.push(plain);
      plain = "";
      pieces.push({ name, line, ...(fallback !== undefined && { default: fallback }) });
    } else if (whole === "}") {
      plain += "}";
      if (openBraces > 0) openBraces -= 1;
      else if (text[position] === "}") position += 1;
    } else {
      plain += "{";
      if (whole === "{") openBraces += 1;
    }
    mark.lastIndex = position;
  }
  plain += text.slice(position);
  if (plain !== "") pieces.push(plain);
  return pieces;
}

/** The first `{{name}}`: a variable in other programs, here the text `{name}`. */
export function doubledHole(
  text: string,
): { readonly written: string; readonly name: string; readonly line: number } | undefined {
  // Three braces are a brace and a hole.
  const match = /(?<!\{)\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}(?!\})/.exec(text);
  if (match === null) return undefined;
  const [written, name = ""] = match;
  return { written, name, line: newlinesIn(text.slice(0, match.index)) + 1 };
}

/**
 * The text with its holes filled. Values are inserted as they are, without expanding them. Throws `InvalidRequest` before
 * building a text that would be too long.
 */
export function fill(pieces: readonly Piece[], valueOf: (name: string) => string): string {
  const parts = pieces.map((piece) => (typeof piece === "string" ? piece : valueOf(piece.name)));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > maxFilledCharacters) {
    throw new InvalidRequest(
      `the filled template would have ${length} characters; at most ${maxFilledCharacters} are allowed`,
      { next: advice("give shorter values") },
    );
  }
  return parts.join("");
}

function newlinesIn(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/**
 * The value that files give a variable: the text of a single file, or each of several files in a frame with its name. A
 * single text is framed, too, if it contains what ends the variable in the template (`</text>`).
 */
export function filesValue(
  files: readonly { readonly path: string; readonly text: string }[],
  pieces: readonly Piece[],
  variable: string,
): string {
  const [first, ...more] = files;
  if (first === undefined) return "";
  const isPlain = more.length === 0 && endsOf(pieces, variable).every((end) => !first.text.includes(end));
  return isPlain ? first.text : files.map(frameFile).join("").trimEnd();
}

/**
 * The texts that mark the end of the variable at each of its uses: the next non-empty line where the variable ends its
 * line, else marks on the same line. Words on the same line are no marks.
 */
function endsOf(pieces: readonly Piece[], variable: string): readonly string[] {
  return pieces.flatMap((piece, index) => {
    if (typeof piece === "string" || piece.name !== variable) return [];
    const behind = pieces[index + 1];
    if (typeof behind !== "string") return [];
    const [sameLine = "", ...below] = behind.split(/\r?\n/);
    const end = (sameLine.trim() === "" ? below.find((line) => line.trim() !== "") : sameLine)?.trim() ?? "";
    const isMark = /^[^\p{L}\p{N}\s]{2}|^<\/?\p{L}/u.test(end);
    return end !== "" && (isMark || sameLine.trim() === "") ? [end] : [];
  });
}
