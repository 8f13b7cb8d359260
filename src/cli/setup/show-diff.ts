import { createTwoFilesPatch } from "diff";
import type { CommandIo } from "../terminal/io.ts";
import { styled, type Style } from "../terminal/terminal-text.ts";

/** Some clients store megabytes of state in one line. */
const maxLineLength = 200;

/** Keys of other servers, which are hidden. */
const secret = /((?:key|token|secret|password|credential|authorization)[\w-]*["']?\s*[:=]\s*)(["']).*?\2/gi;

/** The change as a unified diff with three lines of context. */
export function showDiff(file: string, before: string, after: string): string {
  const patch = createTwoFilesPatch(file, file, before, after, undefined, undefined, { context: 3 });
  const lines = patch
    .split("\n")
    .filter((line) => line !== "" && !/^(===|Index: |\\ No newline)/.test(line))
    .map((line) => line.replace(/\r$/, "").replaceAll(secret, "$1$2…$2"));
  return `${lines.map((line, index) => shorten(line, lines[index - 1], lines[index + 1])).join("\n")}\n`;
}

/** A diff with removed and added lines and positions in colours. */
export function colourDiff(diff: string, io: Pick<CommandIo, "hasColour">): string {
  return diff
    .split("\n")
    .map((line, index) => styled(line, styleOf(line, index), io))
    .join("\n");
}

/** The first two lines name the file. */
function styleOf(line: string, index: number): Style | undefined {
  if (index < 2) return "bold";
  return ({ "+": "green", "-": "red", "@": "cyan" } as const)[line.charAt(0)];
}

/** Shortens a long line to its difference from the line that it replaces or is replaced by, else to its start. */
function shorten(line: string, previous: string | undefined, next: string | undefined): string {
  if (line.length <= maxLineLength) return line;
  const other = line.startsWith("-") && next?.startsWith("+") ? next : previous;
  const isPair = other !== undefined && /^(-\+|\+-)$/.test(line.slice(0, 1) + other.slice(0, 1));
  if (!isPair) return `${line.slice(0, maxLineLength)}…`;
  let start = 1;
  while (start < line.length && line[start] === other[start]) start += 1;
  let end = 0;
  while (end < Math.min(line.length, other.length) - start && line.at(-1 - end) === other.at(-1 - end)) end += 1;
  const from = Math.max(1, start - 60);
  const to = Math.min(line.length, line.length - end + 60);
  return `${line[0]}${from > 1 ? "…" : ""}${line.slice(from, to)}${to < line.length ? "…" : ""}`;
}
