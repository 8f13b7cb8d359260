import { frameFile } from "../util/file-frame.ts";
import type { Piece } from "./render.ts";

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
