import type { IBuffer, IBufferCell, IBufferLine } from "@xterm/headless";

/** Colours of a theme: background, frame, text, dimmed text, and those of the terminal's palette that the shell uses. */
export interface Colours {
  readonly background: string;
  readonly frame: string;
  readonly text: string;
  readonly dim: string;
  /** By number of the palette: 1 red, 2 green, 3 yellow, 6 cyan. */
  readonly palette: Readonly<Record<number, string>>;
}

export const themes: Readonly<Record<"light" | "dark", Colours>> = {
  light: {
    background: "#ffffff",
    frame: "#d0d7de",
    text: "#1f2328",
    dim: "#656d76",
    palette: { 1: "#cf222e", 2: "#1a7f37", 3: "#9a6700", 6: "#1b7c83" },
  },
  dark: {
    background: "#0d1117",
    frame: "#30363d",
    text: "#e6edf3",
    dim: "#8b949e",
    palette: { 1: "#ff7b72", 2: "#3fb950", 3: "#d29922", 6: "#39c5cf" },
  },
};

const cellWidth = 8.4;
const lineHeight = 20;
const margin = 16;

interface Run {
  readonly column: number;
  readonly text: string;
  readonly colour: string;
  readonly isBold: boolean;
}

/**
 * The lines of a terminal as an SVG, below a prompt with the command. Each run of one style is placed by its column, so
 * that columns align in any fixed-width font. `shorten` replaces texts of a line before it is drawn. With `from`, only the
 * first line that has it and those after it, of which several empty ones are drawn as one.
 */
export function screenAsSvg(
  buffer: IBuffer,
  options: {
    readonly command: string;
    readonly columns: number;
    readonly colours: Colours;
    readonly shorten: (text: string) => string;
    readonly from?: string;
  },
): string {
  const { command, columns, colours, shorten, from } = options;
  const first: Run[] = [
    { column: 0, text: "$ ", colour: colours.dim, isBold: false },
    { column: 2, text: command, colour: colours.text, isBold: true },
  ];
  const lines = [first, ...screenLines(buffer, from).map((line) => runsOf(line, colours, shorten))];
  const width = Math.ceil(columns * cellWidth + 2 * margin);
  const height = lines.length * lineHeight + 2 * margin;
  const texts = lines.flatMap((runs, index) => {
    const y = margin + (index + 0.75) * lineHeight;
    return runs.filter(({ text }) => text.trim() !== "").map((run) => textOf(run, y));
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    ` font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace" font-size="14">\n`,
    `<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" fill="${colours.background}" stroke="${colours.frame}"/>\n`,
    ...texts,
    "</svg>\n",
  ].join("");
}

/** All lines up to the last one with text. */
function screenLines(buffer: IBuffer, from: string | undefined): readonly IBufferLine[] {
  const lines = Array.from({ length: buffer.length }, (_, index) => buffer.getLine(index)).filter(
    (line) => line !== undefined,
  );
  const isEmpty = (line: IBufferLine | undefined): boolean => line?.translateToString().trim() === "";
  const shown = lines.slice(0, lines.findLastIndex((line) => !isEmpty(line)) + 1);
  if (from === undefined) return shown;
  const asked = shown.slice(shown.findIndex((line) => line.translateToString().includes(from)));
  return asked.filter((line, at) => !isEmpty(line) || !isEmpty(asked[at - 1]));
}

/** A line's cells, joined where their style is the same. */
function runsOf(line: IBufferLine, colours: Colours, shorten: (text: string) => string): readonly Run[] {
  const runs: Run[] = [];
  for (let column = 0; column < line.length; column++) {
    const cell = line.getCell(column);
    if (cell === undefined || cell.getWidth() === 0) continue;
    const text = cell.getChars() || " ";
    const colour = colourOf(cell, colours);
    const isBold = cell.isBold() !== 0;
    const last = runs.at(-1);
    if (last?.colour === colour && last.isBold === isBold) runs[runs.length - 1] = { ...last, text: last.text + text };
    else runs.push({ column, text, colour, isBold });
  }
  return runs.map((run) => ({ ...run, text: shorten(run.text) }));
}

function colourOf(cell: IBufferCell, colours: Colours): string {
  const { text, dim, palette } = colours;
  if (cell.isDim() !== 0) return dim;
  if (cell.isFgRGB()) return ofTheme(cell.getFgColor(), { text, dim, isDark: colours === themes.dark });
  return cell.isFgPalette() ? (palette[cell.getFgColor()] ?? text) : text;
}

/** Programs choose such a colour for a dark screen: greys become those of the theme, and others are darker on a light one. */
function ofTheme(
  colour: number,
  { text, dim, isDark }: { readonly text: string; readonly dim: string; readonly isDark: boolean },
): string {
  const parts = [colour >> 16, (colour >> 8) & 255, colour & 255];
  const [least, most] = [Math.min(...parts), Math.max(...parts)];
  if (most - least < 24) return most < 200 ? dim : text;
  return `#${parts
    .map((part) =>
      Math.round(isDark ? part : part * 0.6)
        .toString(16)
        .padStart(2, "0"),
    )
    .join("")}`;
}

function textOf({ column, text, colour, isBold }: Run, y: number): string {
  const x = margin + column * cellWidth;
  const shown = text.trimEnd();
  const escaped = shown.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const weight = isBold ? ' font-weight="600"' : "";
  const length = (shown.length * cellWidth).toFixed(1);
  return `<text x="${x.toFixed(1)}" y="${y}" fill="${colour}"${weight} textLength="${length}" xml:space="preserve">${escaped}</text>\n`;
}
