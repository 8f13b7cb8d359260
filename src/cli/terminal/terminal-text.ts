import { cellsOf, wrap } from "../../orchestrator/util/columns.ts";
import { jsonText, oneLine, withoutControls } from "../../orchestrator/util/control-characters.ts";
import { randomInt } from "node:crypto";
import { WriteStream } from "node:tty";
import { inspect, stripVTControlCharacters } from "node:util";
import { commandSteps } from "../../next-steps/commands.ts";
import { renderSteps, withSteps, type StepTable } from "../../next-steps/render.ts";
import { faultOf } from "../../orchestrator/api/errors.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";

/** Marks our own control sequences until they are written. Random for each process, so that no text can imitate it. */
const mark = Array.from({ length: 3 }, () => randomInt(1_000, 10_000)).join(";");
const ours = new RegExp(String.raw`\u001B\[${mark};(\d*)([AGJm])`, "g");

/**
 * A control sequence of our own, marked so that `terminalText` keeps it: cursor up, to the start of the line, erase downwards
 * (ECMA-48), and the style of what follows.
 */
export function control(kind: "A" | "G" | "J" | "m", value: number | "" = ""): string {
  return `\u001B[${mark};${value}${kind}`;
}

/**
 * Removes control characters from a text, and turns our own marked sequences into those of terminals. All output of the
 * shell passes through here (`processIo`), so views need not clean anything. A sequence split over two calls is harmless
 * too: each control character is dropped by itself.
 */
export function terminalText(text: string): string {
  const parts = text.split(ours);
  // Text, then value, kind and text of each sequence.
  let written = withoutControls(parts[0] ?? "");
  for (let index = 1; index < parts.length; index += 3) {
    const [value = "", kind = "", behind = ""] = parts.slice(index, index + 3);
    // A carriage return works in every terminal.
    written += kind === "G" ? "\r" : `\u001B[${value}${kind}`;
    written += withoutControls(behind);
  }
  return written;
}

/**
 * Whether a stream shows colours: a terminal does, by Node's rules for NO_COLOR, NODE_DISABLE_COLORS and TERM, and
 * FORCE_COLOR decides alone where it is set.
 */
export function hasColours(output: { readonly isTTY?: boolean }): boolean {
  return (output.isTTY === true || process.env["FORCE_COLOR"] !== undefined) && WriteStream.prototype.hasColors();
}

/** 2 for wrong usage, 130 for an interrupt, else 1. */
export function exitCodeOf(error: unknown): number {
  const { code, isMisuse } = faultOf(error);
  return isMisuse === true ? 2 : code === "cancelled" ? 130 : 1;
}

/**
 * An error as text. Lines after the first are indented, so that no name in it can imitate a line of ours. In a terminal
 * its lines are wrapped at words; commands in backticks stay whole, so that they can be copied.
 */
export function errorText(
  error: { readonly message: string; readonly next?: readonly NextStep[] },
  steps: StepTable = commandSteps,
  io: { readonly hasErrorColour?: boolean; readonly errorColumns?: number | undefined } = {},
): string {
  const [first = "", ...others] = withSteps(error, steps, "\n").split(/\r?\n/);
  const lines = [`ollm: ${first}`, ...others.map((line) => `  ${line}`)].map((line) => wrappedError(line, io));
  const title = styled("ollm:", "red", { hasColour: io.hasErrorColour === true });
  return `${title}${lines.join("\n").slice("ollm:".length)}\n`;
}

/** A space within a command, while its line is wrapped. */
const innerSpace = "\uE000";

function wrappedError(line: string, { errorColumns }: { readonly errorColumns?: number | undefined }): string {
  if (errorColumns === undefined || cellsOf(line) < errorColumns) return line;
  const text = line
    .trimStart()
    .replaceAll(/`[^`]+`/g, (command) =>
      cellsOf(command) < errorColumns - 4 ? command.replaceAll(" ", innerSpace) : command,
    );
  const lines = wrap(text, Math.max(leastCells, errorColumns - 3), Number.POSITIVE_INFINITY);
  const isFirst = !line.startsWith(" ");
  return lines
    .map((part, index) => `${isFirst && index === 0 ? "" : "  "}${part.replaceAll(innerSpace, " ")}`)
    .join("\n");
}

/** An error's next steps as an indented line, wrapped in a terminal; empty where there are none. */
export function hintLine(
  { next = [] }: { readonly next?: readonly NextStep[] },
  steps: StepTable = commandSteps,
  io: { readonly errorColumns?: number | undefined } = {},
): string {
  return next.length === 0 ? "" : `${wrappedError(`  ${renderSteps(next, steps)}`, io)}\n`;
}

/** A failure within a list of results: `✗ Cursor: ...`, wrapped, and its next steps below it. */
export function failureText(
  lead: string,
  text: string,
  error: { readonly next?: readonly NextStep[] },
  io: { readonly errorColumns?: number | undefined },
): string {
  const hint = hintLine(error, undefined, io).replaceAll(/^(?=.)/gm, lead.replace(/\S.*$/, ""));
  return `${hanging(lead, text, { columns: io.errorColumns })}\n${hint}`;
}

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** `text` in a style if stdout shows colours, else unchanged. */
export function styled(text: string, style: Style | undefined, io: { readonly hasColour?: boolean }): string {
  if (style === undefined || io.hasColour !== true || text === "") return text;
  const [on = "", off = ""] = inspect.colors[style] ?? [];
  return `${control("m", on)}${text}${control("m", off)}`;
}

/** Dim, on stderr. */
export function styledError(text: string, io: { readonly hasErrorColour?: boolean }): string {
  return styled(text, "dim", { hasColour: io.hasErrorColour === true });
}

/** Cuts a text to `width` cells, with … as the last one. A cut text loses its escape sequences. */
export function cutTo(text: string, width: number): string {
  if (cellsOf(text) <= width) return text;
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

/** Texts are not wrapped narrower than this. */
export const leastCells = 8;

/**
 * Text after `lead`, wrapped at words to the width of the terminal; continuation lines are indented to its beginning.
 * Without a line end.
 */
export function hanging(lead: string, text: string, io: { readonly columns?: number | undefined }): string {
  const width = cellsOf(lead);
  const room = Math.max(leastCells, (io.columns ?? Number.POSITIVE_INFINITY) - width);
  return wrap(oneLine(text), room, Number.POSITIVE_INFINITY)
    .map((line, index) => `${index === 0 ? lead : " ".repeat(width)}${line}`)
    .join("\n");
}

/** A question whose lines are wrapped at words; the space before the answer stays. */
export function wrappedQuestion(question: string, columns: number | undefined): string {
  const text = question.trimEnd();
  const lines = text.split("\n").map((line) => {
    const indent = /^ */.exec(line)?.[0] ?? "";
    return hanging(indent, line.slice(indent.length), { columns: columns && columns - 1 });
  });
  return lines.join("\n") + question.slice(text.length);
}

/** A column of a table. `text` returns a row's cell as plain text; undefined: an empty one. */
export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string | number | undefined;
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
  io: { readonly columns?: number | undefined; readonly hasColour?: boolean },
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
    line(shown.map((column) => ({ text: cellOf(column, row), style: column.style?.(row) }))),
  );
  return `${[head, ...body].join("\n")}\n`;
}

/** A property; one without a value is left out. The style applies to the value up to the first semicolon. */
export type Fact = readonly [name: string, value: string | undefined, style?: Style];

/** Names on the left, values beside them, wrapped at words. Each line has a line end. */
export function renderFacts(facts: readonly Fact[], io: Parameters<typeof renderTable>[2]): string {
  const known = facts.filter(([, value]) => value !== undefined);
  const width = Math.max(...known.map(([name]) => cellsOf(name)));
  const room = Math.max(leastCells, (io.columns ?? Number.POSITIVE_INFINITY) - width - gap.length);
  return known
    .flatMap(([name, value = "", style]) =>
      wrap(oneLine(value), room, Number.POSITIVE_INFINITY).map((line, index) => {
        if (index > 0) return `${" ".repeat(width + gap.length)}${line}\n`;
        const painted = line.replace(/^[^;]*/, (words) => styled(words, style, io));
        return `${styled(name.padEnd(width), "dim", io)}${gap}${painted}\n`;
      }),
    )
    .join("");
}

function cellOf<Row>({ text }: Column<Row>, row: Row): string {
  return oneLine(String(text(row) ?? ""));
}

function fit<Row>(rows: readonly Row[], columns: readonly Column<Row>[], available: number) {
  const natural = new Map(
    columns.map((column) => {
      const cells = rows.map((row) => cellsOf(cellOf(column, row)));
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
  io: { stdout(text: string): void },
  text: (value: Value) => string,
): void {
  io.stdout(options.json === true ? `${jsonText(value, 2)}\n` : text(value));
}
