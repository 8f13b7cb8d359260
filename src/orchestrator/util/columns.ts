import { stripVTControlCharacters } from "node:util";
import stringWidth from "string-width";
import { withoutControls } from "./control-characters.ts";

const gap = "  ";
const separator = " | ";

/** The width of a text in cells of a terminal, without escape sequences. */
export function cellsOf(text: string): number {
  // The common case: names and numbers.
  return /^[ -~]*$/.test(text) ? text.length : stringWidth(text);
}

/**
 * Texts in columns with titles, in lines of at most `width` cells. Columns narrower than `leastCells` wrap into another
 * row of columns. Texts are wrapped at words and cut to `maxLines` lines, with … at the end.
 * Escape sequences and control characters are removed, because the texts are written by models.
 */
export function sideBySide(
  columns: readonly { readonly title: string; readonly text: string }[],
  {
    width,
    maxLines,
    leastCells = 24,
  }: { readonly width: number; readonly maxLines: number; readonly leastCells?: number },
): string {
  const most = Math.max(1, Math.floor((width + separator.length) / (leastCells + separator.length)));
  const rows = Math.ceil(columns.length / most);
  const perRow = Math.ceil(columns.length / Math.max(1, rows));
  const blocks: string[] = [];
  for (let start = 0; start < columns.length; start += perRow) {
    blocks.push(oneRow(columns.slice(start, start + perRow), width, maxLines));
  }
  return blocks.join("\n\n");
}

function oneRow(columns: Parameters<typeof sideBySide>[0], width: number, maxLines: number): string {
  const cells = Math.max(1, Math.floor((width - separator.length * (columns.length - 1)) / columns.length));
  const wrapped = columns.map(({ title, text }) => [
    ...wrap(title, cells, 1),
    "-".repeat(Math.min(cells, Math.max(3, cellsOf(title)))),
    ...wrap(text, cells, maxLines),
  ]);
  const height = Math.max(...wrapped.map((lines) => lines.length));
  return Array.from({ length: height }, (_line, index) =>
    wrapped
      .map(({ [index]: line = "" }) => line + " ".repeat(Math.max(0, cells - cellsOf(line))))
      .join(separator)
      .trimEnd(),
  ).join("\n");
}

/** At most `maxLines` lines of at most `cells` cells, wrapped at words; longer words are split. */
export function wrap(text: string, cells: number, maxLines: number): readonly string[] {
  const lines: string[] = [];
  for (const paragraph of plain(text).split("\n")) {
    let line = "";
    for (const word of paragraph.split(/(?<=\s)(?=\S)/u)) {
      if (lines.length > maxLines) break;
      if (cellsOf(line + word.trimEnd()) <= cells) {
        line += word;
        continue;
      }
      if (line.trim() !== "") lines.push(line.trimEnd());
      line = word;
      while (cellsOf(line.trimEnd()) > cells) {
        const [head, tail] = split(line, cells);
        lines.push(head);
        line = tail;
      }
    }
    if (lines.length > maxLines) break;
    lines.push(line.trimEnd());
  }
  if (lines.length <= maxLines) return lines;
  const shown = lines.slice(0, maxLines);
  const last = shown.at(-1) ?? "";
  return [...shown.slice(0, -1), `${cellsOf(last) < cells ? last : split(last, cells - 1)[0]}…`];
}

/** Rows with aligned columns; those marked in `isNumber` are right-aligned. */
export function alignRows(rows: readonly (readonly string[])[], isNumber: readonly boolean[]): string {
  const widths = (rows[0] ?? []).map((_cell, index) => Math.max(...rows.map((row) => cellsOf(row[index] ?? ""))));
  return rows
    .map((row) =>
      row
        .map((cell, index) => {
          const room = " ".repeat(Math.max(0, (widths[index] ?? 0) - cellsOf(cell)));
          return isNumber[index] === true ? room + cell : cell + room;
        })
        .join(gap)
        .trimEnd(),
    )
    .join("\n");
}

/** The text without escape sequences and control characters other than line feeds, with two spaces for each tab. */
export function plain(text: string): string {
  return withoutControls(stripVTControlCharacters(text).replaceAll(/\r\n?/g, "\n").replaceAll("\t", gap));
}

function split(text: string, cells: number): readonly [string, string] {
  let head = "";
  let used = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    const width = cellsOf(segment);
    // At least one character, so that the loop ends in a column narrower than one.
    if (used + width > cells && head !== "") break;
    head += segment;
    used += width;
  }
  return [head, text.slice(head.length)];
}
