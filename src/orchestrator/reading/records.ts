/** Rows and log entries: where one begins, and the header row that says what their columns are. */
import { headerIn } from "./rows-cells.ts";

const tableFile = /\.(?:csv|tsv|tab|psv)$/i;
const logFile = /\.(?:log|out|err)(?:\.\d+)?$/i;

/** A time, a level, an address or a bracket: how entries of logs begin. */
const entryStart =
  /^(?:[[(<"]?(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d?[-/.](?:\d\d?|[A-Z][a-z]{2})[-/. ]\d{2,4}|\d\d:\d\d:\d\d|\d{10,16}\b|[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:)|[[(<"]?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL|SEVERE)\b|[IWEF]\d{4} |\d{1,3}(?:\.\d{1,3}){3} |\{")/i;
/** Lines that tell what a text without a known name is, and the share of them that has to begin an entry. */
const sampledLines = 40;
const leastShare = 0.5;
/** In a file that is named a log: entries of a format that is not known have none. */
const leastShareOfLog = 0.1;

/**
 * Follows a text line by line, in order. `header`: that of the table which a passage begins in; one that takes too much room
 * (`isBearable`) is left out.
 */
export function recordsOf(
  { path, text, firstLine, header }: { path: string; text: string; firstLine: number; header?: string | undefined },
  isBearable: (header: string) => boolean,
): (
  start: number,
  head: string,
  end: number,
) => { readonly header?: string | undefined; readonly isContinued: boolean } {
  const continued = continuationsIn(path, text);
  const found = firstLine === 1 && tableFile.test(path) ? headerIn(text, /\.(?:tsv|tab)$/i.test(path)) : undefined;
  const whole = found === undefined || found.cells.length < 2 ? undefined : text.slice(found.start, found.end);
  const afterHeader = whole === undefined ? 0 : (found?.end ?? 0);
  const isMarkdown = !tableFile.test(path);
  let current = header;
  let previous = "";
  let isFirstRow = false;
  if (whole !== undefined && isBearable(whole)) current = whole;
  return (start, head, end) => {
    // The header itself has none, nor has what stands above it.
    if (start < afterHeader) return { isContinued: start > 0 };
    if (!isMarkdown) return { header: current, isContinued: continued.has(start) };
    const line = { header: current, isContinued: continued.has(start) || isFirstRow };
    isFirstRow = isBelowHeader(head, previous);
    if (isFirstRow) {
      const above = text.slice(text.lastIndexOf("\n", start - 2) + 1, end);
      current = isBearable(above) ? above : undefined;
      previous = head;
      return { isContinued: true };
    }
    previous = head;
    if (head.includes("|")) return line;
    current = undefined;
    return { isContinued: continued.has(start) };
  };
}

/** Where lines begin that continue a record: in a quoted cell, or below the first line of a log's entry. */
function continuationsIn(path: string, text: string): ReadonlySet<number> {
  if (tableFile.test(path)) return quotedLines(text);
  const least = logFile.test(path) ? leastShareOfLog : leastShare;
  const sample = text.slice(0, sampledLines * 400).split("\n", sampledLines);
  const lines = sample.filter((line) => line.trim() !== "" && !/^\s/.test(line));
  if (lines.filter((line) => entryStart.test(line)).length < Math.max(2, lines.length * least)) return new Set();
  return linesOf(text, (start) => !entryStart.test(text.slice(start, start + 60)));
}

/** The starts of lines, the first excepted, that are `wanted`. */
function linesOf(text: string, wanted: (start: number, end: number) => boolean): ReadonlySet<number> {
  const found = new Set<number>();
  for (let start = text.indexOf("\n") + 1; start > 0 && start < text.length;) {
    const newline = text.indexOf("\n", start);
    if (wanted(start, newline)) found.add(start);
    start = newline + 1;
  }
  return found;
}

/** Lines of a table that begin in a quoted cell. A quotation mark that is never closed makes no record of the rest. */
function quotedLines(text: string): ReadonlySet<number> {
  let isOpen = false;
  let checked = 0;
  const inside = linesOf(text, (start) => {
    for (let at = text.indexOf('"', checked); at !== -1 && at < start; at = text.indexOf('"', at + 1)) isOpen = !isOpen;
    checked = start;
    return isOpen;
  });
  const rest = text.slice(checked).split('"').length - 1;
  return isOpen === (rest % 2 === 1) ? inside : new Set();
}

/** Whether a line is that below the header row of a Markdown table: `|---|---:|`. */
function isBelowHeader(line: string, previous: string): boolean {
  return line.includes("|") && previous.includes("|") && /^[\s:|-]*--[\s:|-]*$/.test(line);
}
