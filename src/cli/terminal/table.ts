import type { CommandIo } from "./io.ts";
import { cutTo, leastCells, styled, type Style } from "./terminal-text.ts";
import { cellsOf, wrap } from "../../orchestrator/util/columns.ts";
import { jsonText, oneLine } from "../../orchestrator/util/control-characters.ts";

/** A column of a table. `text` returns a row's cell as plain text. */
export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  /** Aligned right. */
  readonly isNumber?: boolean;
  /** Dropped if the terminal is too narrow, the highest number first. Absent: never dropped. */
  readonly isExtra?: number;
  readonly style?: (row: Row) => Style | undefined;
}

const gap = "  ";
/** Extra columns are dropped before a text is cut shorter than this. */
const goodCells = 20;

/**
 * Rows as lines that fit the terminal, without borders, each with a line end. If they don't fit, the widest text column
 * is cut with …, then extra columns are dropped; without a terminal nothing is cut.
 */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  io: Pick<CommandIo, "columns" | "hasColour">,
): string {
  const { shown, widths } = fit(rows, columns, io.columns ?? Number.POSITIVE_INFINITY);
  const line = (cells: readonly { readonly text: string; readonly style?: Style | undefined }[]): string =>
    cells
      .map(({ text, style }, index) => {
        const width = widths[index] ?? 0;
        const cut = cutTo(text, width);
        const room = " ".repeat(Math.max(0, width - cellsOf(cut)));
        const isLast = index === cells.length - 1;
        const painted = styled(cut, style, io);
        return shown[index]?.isNumber === true ? room + painted : painted + (isLast ? "" : room);
      })
      .join(gap)
      .trimEnd();
  const head = line(shown.map(({ title }) => ({ text: title, style: "dim" })));
  const body = rows.map((row) =>
    line(shown.map(({ text, style }) => ({ text: oneLine(text(row)), style: style?.(row) }))),
  );
  return `${[head, ...body].join("\n")}\n`;
}

/** A property with its value. */
export interface Fact {
  readonly name: string;
  readonly value: string;
  /** Applies to the value up to the first semicolon. */
  readonly style?: Style | undefined;
}

/** Names on the left, values beside them, wrapped at words. Each line has a line end. */
export function renderFacts(facts: readonly Fact[], io: Pick<CommandIo, "columns" | "hasColour">): string {
  const width = Math.max(...facts.map(({ name }) => cellsOf(name)));
  const room = Math.max(leastCells, (io.columns ?? Number.POSITIVE_INFINITY) - width - gap.length);
  return facts
    .flatMap(({ name, value, style }) =>
      wrap(oneLine(value), room, Number.POSITIVE_INFINITY).map((line, index) => {
        if (index > 0) return `${" ".repeat(width + gap.length)}${line}\n`;
        const painted = line.replace(/^[^;]*/, (words) => styled(words, style, io));
        return `${styled(name.padEnd(width), "dim", io)}${gap}${painted}\n`;
      }),
    )
    .join("");
}

function fit<Row>(rows: readonly Row[], columns: readonly Column<Row>[], available: number) {
  const natural = new Map(
    columns.map((column) => {
      const cells = rows.map((row) => cellsOf(oneLine(column.text(row))));
      return [
        column,
        { width: Math.max(cellsOf(column.title), ...cells), isEmpty: cells.every((width) => width === 0) },
      ];
    }),
  );
  // An empty column only takes room.
  let shown = columns.filter((column) => rows.length === 0 || natural.get(column)?.isEmpty !== true);
  for (;;) {
    const widths = shown.map((column) => natural.get(column)?.width ?? 0);
    const extra = shown.filter(({ isExtra }) => isExtra !== undefined);
    shrink(widths, shown, available - gap.length * (shown.length - 1), extra.length > 0 ? goodCells : leastCells);
    const total = widths.reduce((sum, width) => sum + width, 0) + gap.length * (shown.length - 1);
    if (total <= available || extra.length === 0) return { shown, widths };
    const first = extra.toSorted((a, b) => (b.isExtra ?? 0) - (a.isExtra ?? 0))[0];
    shown = shown.filter((column) => column !== first);
  }
}

/** Narrows the widest text column, one cell at a time, until all fit or none is wider than `least`. */
function shrink(
  widths: number[],
  columns: readonly { readonly isNumber?: boolean }[],
  available: number,
  least: number,
): void {
  let excess = widths.reduce((sum, width) => sum + width, 0) - available;
  while (excess > 0) {
    let widest = -1;
    for (const [index, width] of widths.entries()) {
      if (columns[index]?.isNumber !== true && width > least && width > (widths[widest] ?? 0)) widest = index;
    }
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
}

/** Prints a value: with `--json` as one JSON value, else as `text` renders it, with its line ends. */
export function show<Value>(
  value: Value,
  options: { readonly json?: boolean | undefined },
  io: Pick<CommandIo, "stdout">,
  text: (value: Value) => string,
): void {
  io.stdout(options.json === true ? `${jsonText(value, 2)}\n` : text(value));
}
