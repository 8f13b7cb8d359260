import { stripVTControlCharacters } from "node:util";
import { cellsOf } from "../../orchestrator/text/columns.ts";

/** The width of a text in terminal cells, without escape sequences. */
export const widthOf = cellsOf;

/** Cuts a text to `width` cells, with … as the last one. A cut text loses its escape sequences. */
export function cutTo(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width < 1) return "";
  let kept = "";
  let used = 0;
  for (const { segment } of new Intl.Segmenter().segment(stripVTControlCharacters(text))) {
    const cells = cellsOf(segment);
    if (used + cells > width - 1) break;
    kept += segment;
    used += cells;
  }
  return `${kept}…`;
}
