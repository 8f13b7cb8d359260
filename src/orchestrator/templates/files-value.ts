import { frameFile } from "../text/file-frame.ts";
import type { Piece } from "./render.ts";

/**
 * What files put in for a variable: of one file its text, as if it had been typed there, of several each in a
 * frame with its name. A text that holds what ends the variable in the template (`</text>`) stands in a frame, too.
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
 * What stands behind each use of the variable and may be taken for its end: the next line with something on it where
 * the variable ends its own line, else marks on the same line. Words there end nothing.
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
