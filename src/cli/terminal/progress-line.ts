import { cellsOf, sideBySide, wrap } from "../../orchestrator/util/columns.ts";
import { oneLine } from "../../orchestrator/util/control-characters.ts";
import type { TextNote } from "../../server/daemon/client.ts";
import type { CommandIo } from "./io.ts";
import { control, cutTo } from "./terminal-text.ts";

/** `, 12 of 98 MB`, `, 9.3 MB/s`, `11.8 MB of 48.1 MB`, `12 tokens`. */
const figures = /(, )?(\d[\d.]*( [kMG]B)? of )?\d[\d.]* (bytes|kB|MB|GB|tokens?)\b(\/s)?/g;

/** `100 % ` */
const percentCells = 6;

/** Estimates of the remaining time from less than this are unstable. */
const leastMeasuredMs = 2_000;
/** Older progress is ignored by the estimate. */
const windowMs = 20_000;

/** Waits shorter than this show nothing. The first sign of life is due 200 ms after the start of the process. */
const quietMs = 100;
/** A wait that begins so soon after another one continues it. */
const resumedMs = 50;
const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] as const;
const frameMs = 100;

/**
 * Shows progress on stderr: in a terminal one line, rewritten in place, with a bar and the remaining time, or a spinner
 * where the fraction is not known; else a line for every ten percent.
 */
export function createProgressLine(
  io: Pick<CommandIo, "stderr" | "errorColumns">,
  now: () => number = () => performance.now(),
) {
  const isTerminal = io.errorColumns !== undefined;
  /** The last cell would wrap. */
  const widthOf = (): number => (io.errorColumns ?? 80) - 1;
  let shown = "";
  let lastTenth = -1;
  let seen: readonly { readonly atMs: number; readonly fraction: number }[] = [];
  let spinner: NodeJS.Timeout | undefined;
  let waiting: NodeJS.Timeout | undefined;
  let frame = 0;
  let clearedMs = Number.NEGATIVE_INFINITY;

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

  function stop(): void {
    clearTimeout(waiting);
    clearInterval(spinner);
    waiting = undefined;
    spinner = undefined;
  }

  function draw(text: string): void {
    const line = cutTo(text, widthOf());
    io.stderr(`${control("G")}${line}${" ".repeat(Math.max(0, cellsOf(shown) - cellsOf(line)))}`);
    shown = line;
  }

  function spin(message: string): void {
    const turn = (): void => draw(`${frames[frame++ % frames.length]} ${message}`);
    turn();
    spinner = setInterval(turn, frameMs).unref();
  }

  function show(said: string, fraction: number | undefined): void {
    stop();
    const message = oneLine(said);
    if (!isTerminal) {
      // Compares without figures, so that they alone don't print a line; names like `smollm2:135m` are not figures.
      const work = message.replaceAll(figures, "");
      const tenth = fraction === undefined ? lastTenth : Math.floor(fraction * 10);
      if (work === shown && tenth === lastTenth) return;
      shown = work;
      lastTenth = tenth;
      io.stderr(`${message}\n`);
      return;
    }
    if (fraction === undefined) return spin(message);
    const width = widthOf();
    draw(withBar(figured(message, remaining(fraction), width), fraction, width));
  }

  function clear(): void {
    stop();
    if (!isTerminal || shown === "") return;
    io.stderr(`${control("G")}${" ".repeat(cellsOf(shown))}${control("G")}`);
    shown = "";
    clearedMs = now();
  }

  return {
    show,
    /** Shows a spinner in a terminal, unless something else is shown or the wait ends within `delayMs`. */
    wait(message: string, delayMs = quietMs): void {
      if (!isTerminal || waiting !== undefined) return;
      if (shown !== "" || delayMs <= 0 || now() - clearedMs < resumedMs) show(message, undefined);
      else waiting = setTimeout(() => show(message, undefined), delayMs).unref();
    },
    /** Erases the line. */
    clear,
    /** Writes lines above the progress line of a terminal, which the next progress draws again. */
    above(text: string): void {
      const isSpinning = spinner !== undefined;
      const message = shown.slice(2);
      clear();
      io.stderr(text);
      if (isSpinning) spin(message);
    },
  };
}

/** The time that a command still has until its first sign of life. */
export function untilFirstSign(): number {
  return quietMs - performance.now();
}

/** Shows a spinner in a terminal until `work` is done, which may write lines above it. */
export async function whileWaiting<Value>(
  message: string,
  io: Pick<CommandIo, "stderr" | "errorColumns">,
  work: (line: ReturnType<typeof createProgressLine>) => Promise<Value>,
): Promise<Value> {
  const line = createProgressLine(io);
  line.wait(message, untilFirstSign());
  try {
    return await work(line);
  } finally {
    line.clear();
  }
}

/** `8 s`, `3 min`, `1 h 20 min`. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
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

/** The newest lines of each answer. */
const tallLines = 8;
const leastCells = 24;
/** Lines of a column beside its answer: title, rule, state, and an empty line before the next row of columns. */
const frameLines = 4;

/** Splits a comparison's text, which has a line `=== model ===` before each answer. */
export function sectionsOf(text: string, isModel: (name: string) => boolean): readonly (readonly [string, string])[] {
  const sections: [string, string][] = [];
  for (const line of text.split("\n")) {
    const [, name] = /^=== (.+) ===$/.exec(line) ?? [];
    const last = sections.at(-1);
    // A repeated line of a model is part of an answer.
    if (name !== undefined && isModel(name) && !sections.some(([known]) => known === name)) sections.push([name, ""]);
    else if (last !== undefined) last[1] += `${line}\n`;
  }
  return sections.map(([name, answer]) => [name, answer.trim()]);
}

/** Parses `a: 12 tokens | b: waits`; undefined for other messages. */
function statesOf(message: string): ReadonlyMap<string, string> | undefined {
  const states = message.split(" | ").map((part) => /^(\S+): (.+)$/.exec(part));
  if (states.length < 2 || states.includes(null)) return undefined;
  return new Map(states.map((found) => [found?.[1] ?? "", found?.[2] ?? ""]));
}

/** `models` are the requested ones; empty if routing chooses them. */
export function createLiveColumns(
  models: readonly string[],
  io: Pick<CommandIo, "stderr" | "errorColumns" | "errorRows">,
) {
  const width = (): number => io.errorColumns ?? 80;
  const height = (): number => io.errorRows ?? 24;
  let text = "";
  let drawn: readonly string[] = [];
  let states: ReadonlyMap<string, string> = new Map(models.map((model) => [model, "waits"]));
  /** Progress of other work: models are inspected, or answers are judged. */
  let aside = "";
  const isSame = (model: string, name: string) => model === name || `${model}:latest` === name;

  const block = (): string => {
    const names = [...states.keys()];
    const sections = sectionsOf(text, (name) => names.length === 0 || names.some((model) => isSame(model, name)));
    const shown = names.length === 0 ? sections.map(([name]) => name) : names;
    const cells = width();
    const most = Math.max(1, Math.floor((cells + 3) / (leastCells + 3)));
    const rows = Math.ceil(shown.length / most);
    // A block taller than the screen would scroll and could not be redrawn in place.
    const maxLines = Math.min(tallLines, Math.floor((height() - 2) / Math.max(1, rows)) - frameLines);
    const columnCells = Math.max(1, Math.floor(cells / Math.min(most, Math.max(1, shown.length))) - 3);
    const columns = shown.map((title) => {
      const answer = sections.find(([name]) => isSame(title, name))?.[1] ?? "";
      const state = wrap(states.get(title) ?? "", columnCells, 1)[0] ?? "";
      return { title, text: [state, ...newest(answer, columnCells, maxLines)].join("\n").trimEnd() };
    });
    // The last cell of a terminal wraps.
    const drawing = sideBySide(columns, { width: cells - 1, maxLines: Math.max(1, maxLines + 1), leastCells });
    const all = [...drawing.split("\n"), ...(aside === "" ? [] : wrap(aside, cells - 1, 1))];
    return all.slice(-Math.max(1, height() - 1)).join("\n");
  };
  const erased = (): string => {
    // A terminal that became narrower has rewrapped the lines.
    const rows = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(cellsOf(line) / width())), 0);
    return rows > 0 ? `${control("A", Math.min(rows, height() - 1))}${control("G")}${control("J", 0)}` : "";
  };
  const draw = (): void => {
    const lines = block();
    // In one write, to avoid flicker.
    io.stderr(`${erased()}${lines}\n`);
    drawn = lines.split("\n");
  };
  return {
    onText(note: TextNote) {
      if (note.isReset === true) text = "";
      text += note.text ?? "";
      draw();
    },
    /** Takes a progress message: the state of each model, or other work. */
    onProgress(message: string) {
      const found = statesOf(message);
      aside = found === undefined ? message : "";
      states = found ?? states;
      draw();
    },
    /** Erases the columns. */
    clear() {
      if (drawn.length > 0) io.stderr(erased());
      drawn = [];
    },
  };
}

function newest(text: string, cells: number, maxLines: number): readonly string[] {
  if (maxLines < 1 || text === "") return [];
  // Only the end is shown.
  const tail = text.slice(-cells * maxLines * 4);
  return wrap(tail, cells, Number.POSITIVE_INFINITY).slice(-maxLines);
}
