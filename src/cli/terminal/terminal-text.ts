import { randomInt } from "node:crypto";
import { WriteStream } from "node:tty";
import { inspect, stripVTControlCharacters } from "node:util";
import { commandSteps } from "../../next-steps/commands.ts";
import { renderSteps, withSteps, type StepTable } from "../../next-steps/render.ts";
import { faultOf } from "../../orchestrator/api/errors.ts";
import type { NextStep } from "../../orchestrator/api/next-step.ts";
import { cellsOf, wrap } from "../../orchestrator/util/columns.ts";
import { oneLine, withoutControls } from "../../orchestrator/util/control-characters.ts";

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
