import { cellsOf, sideBySide, wrap } from "../../orchestrator/util/columns.ts";
import type { TextNote } from "../../server/daemon/client.ts";
import { control } from "./terminal-text.ts";

/** The newest lines of each answer. */
const tallLines = 8;
const leastCells = 24;
/** Lines of a column beside its answer: title, rule, state, and an empty line before the next row of columns. */
const frameLines = 4;

/** Answers side by side, redrawn in place while they grow. */
export interface LiveColumns {
  onText(note: TextNote): void;
  /** Takes a progress message: the state of each model, or other work. */
  onProgress(message: string): void;
  /** Erases the columns. */
  clear(): void;
}

/** The screen with its current size. */
export interface LiveScreen {
  readonly write: (text: string) => void;
  readonly width: () => number;
  readonly height: () => number;
}

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
export function statesOf(message: string): ReadonlyMap<string, string> | undefined {
  const states = message.split(" | ").map((part) => /^(\S+): (.+)$/.exec(part));
  if (states.length < 2 || states.includes(null)) return undefined;
  return new Map(states.map((found) => [found?.[1] ?? "", found?.[2] ?? ""]));
}

/** `models` are the requested ones; empty if routing chooses them. */
export function createLiveColumns(models: readonly string[], { write, width, height }: LiveScreen): LiveColumns {
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
    write(`${erased()}${lines}\n`);
    drawn = lines.split("\n");
  };
  return {
    onText(note) {
      if (note.isReset === true) text = "";
      text += note.text ?? "";
      draw();
    },
    onProgress(message) {
      const found = statesOf(message);
      aside = found === undefined ? message : "";
      states = found ?? states;
      draw();
    },
    clear() {
      if (drawn.length > 0) write(erased());
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
