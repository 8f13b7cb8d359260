import { oneLine } from "../orchestrator/text/control-characters.ts";
import { control } from "./terminal-text.ts";

/** The output for progress: stderr. */
export interface ProgressOutput {
  /** Passes through `terminalText`. */
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** `, 12 of 98 MB`, `, 9.3 MB/s`, `11.8 MB of 48.1 MB`, `12 tokens`. */
const figures = /(, )?(\d[\d.]*( [kMG]B)? of )?\d[\d.]* (bytes|kB|MB|GB|tokens)\b(\/s)?/g;

/** `100 % ` */
const percentCells = 6;

/** Estimates of the remaining time from less than this are unstable. */
const leastMeasuredMs = 2_000;
/** Older progress is ignored by the estimate. */
const windowMs = 20_000;

/**
 * Shows progress on stderr: in a terminal one line, rewritten in place, with the remaining time; else a line for every
 * ten percent.
 */
export function createProgressLine(
  output: ProgressOutput,
  now: () => number = () => performance.now(),
): {
  show(message: string, fraction: number | undefined): void;
  /** Keeps the last line. */
  end(): void;
  /** Erases the line. */
  clear(): void;
} {
  const isTerminal = output.isTTY === true;
  let shown = "";
  let lastTenth = -1;
  let seen: readonly { readonly atMs: number; readonly fraction: number }[] = [];

  function remaining(fraction: number): string {
    const atMs = now();
    // A smaller fraction begins another part of the work, with a speed of its own.
    if (fraction < (seen.at(-1)?.fraction ?? 0)) seen = [];
    seen = [...seen.filter((past) => atMs - past.atMs <= windowMs), { atMs, fraction }];
    const [first] = seen;
    if (first === undefined || atMs - first.atMs < leastMeasuredMs || fraction <= first.fraction || fraction >= 1)
      return "";
    const seconds = ((1 - fraction) / (fraction - first.fraction)) * ((atMs - first.atMs) / 1_000);
    return `, ${duration(seconds)} left`;
  }

  return {
    show(said, fraction) {
      const message = oneLine(said);
      if (!isTerminal) {
        // Compares without figures, so that they alone don't print a line; names like `smollm2:135m` are not figures.
        const work = message.replaceAll(figures, "");
        const tenth = fraction === undefined ? lastTenth : Math.floor(fraction * 10);
        if (work === shown && tenth === lastTenth) return;
        shown = work;
        lastTenth = tenth;
        output.write(`${message}\n`);
        return;
      }
      // Some terminals (a pty without a window, CI) report a width of 0.
      const width = (output.columns || 80) - 1;
      const text =
        fraction === undefined ? message : withBar(figured(message, remaining(fraction), width), fraction, width);
      const line = cut(text, width);
      output.write(`${control("G")}${line}${" ".repeat(Math.max(0, shown.length - line.length))}`);
      shown = line;
    },
    end() {
      if (isTerminal && shown !== "") output.write("\n");
      shown = "";
    },
    clear() {
      if (isTerminal && shown !== "") output.write(`${control("G")}${" ".repeat(shown.length)}${control("G")}`);
      if (isTerminal) shown = "";
    },
  };
}

/** `8 s`, `3 min`, `1 h 20 min`. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

/** The whole message, or only its figures if the line is too narrow. */
function figured(message: string, left: string, width: number): string {
  const text = `${message}${left}`;
  const [, onlyFigures] = /^[^,]*, (.+)$/.exec(text) ?? [];
  return onlyFigures === undefined || text.length + percentCells <= width ? text : onlyFigures;
}

/** Puts a bar before the text; a percentage if there is little room. */
function withBar(text: string, fraction: number, width: number): string {
  const cells = Math.min(24, width - text.length - 3);
  if (cells < 6) return `${Math.floor(Math.min(1, Math.max(0, fraction)) * 100)} % ${text}`;
  const filled = Math.round(Math.min(1, Math.max(0, fraction)) * cells);
  return `[${"#".repeat(filled)}${" ".repeat(cells - filled)}] ${text}`;
}
