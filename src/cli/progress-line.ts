import { oneLine } from "../orchestrator/text/control-characters.ts";
import { control } from "./terminal-text.ts";

/** Where progress goes: stderr. */
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

/** A remaining time from less than this would jump about. */
const leastMeasuredMs = 2_000;
/** Older progress says little of the speed now. */
const windowMs = 20_000;

/**
 * Shows progress on stderr: one line rewritten in place at a terminal, with the time that remains, a line every ten
 * percent elsewhere.
 */
export function createProgressLine(
  output: ProgressOutput,
  now: () => number = () => performance.now(),
): {
  show(message: string, fraction: number | undefined): void;
  /** Leaves the last line where it is. */
  end(): void;
  /** Takes the line away, for what follows in its place. */
  clear(): void;
} {
  const isTerminal = output.isTTY === true;
  let shown = "";
  let lastTenth = -1;
  let seen: readonly { readonly atMs: number; readonly fraction: number }[] = [];

  function remaining(fraction: number): string {
    const atMs = now();
    // One that fell back is another part of the work: its speed is its own.
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
        // The same work, without its figures; a name like `smollm2:135m` is none.
        const work = message.replaceAll(figures, "");
        const tenth = fraction === undefined ? lastTenth : Math.floor(fraction * 10);
        if (work === shown && tenth === lastTenth) return;
        shown = work;
        lastTenth = tenth;
        output.write(`${message}\n`);
        return;
      }
      // Some terminals (a pty without a window, CI) say that they are 0 columns wide.
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

/** Where the line is too narrow for all, the figures stay: what it works on was said before. */
function figured(message: string, left: string, width: number): string {
  const text = `${message}${left}`;
  const [, onlyFigures] = /^[^,]*, (.+)$/.exec(text) ?? [];
  return onlyFigures === undefined || text.length + percentCells <= width ? text : onlyFigures;
}

/** The words count more than the bar: it takes what they leave, and goes when that is little. */
function withBar(text: string, fraction: number, width: number): string {
  const cells = Math.min(24, width - text.length - 3);
  if (cells < 6) return `${Math.floor(Math.min(1, Math.max(0, fraction)) * 100)} % ${text}`;
  const filled = Math.round(Math.min(1, Math.max(0, fraction)) * cells);
  return `[${"#".repeat(filled)}${" ".repeat(cells - filled)}] ${text}`;
}
