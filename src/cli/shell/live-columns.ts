import { sideBySide, wrap } from "../../orchestrator/text/columns.ts";
import type { TextNote } from "../../server/client.ts";

/** The newest lines of each answer; a taller block would scroll away, and could not be drawn again. */
const tallLines = 8;
const stackedLines = 4;
const leastCells = 24;

/** Answers that grow beside each other, drawn again in place. */
export interface LiveColumns {
  onText(note: TextNote): void;
  /** Takes the block away. */
  clear(): void;
}

/** What a comparison's text holds: a line `=== model ===` stands before each answer. */
export function sectionsOf(text: string, isModel: (name: string) => boolean): readonly (readonly [string, string])[] {
  const sections: [string, string][] = [];
  for (const line of text.split("\n")) {
    const [, name] = /^=== (.+) ===$/.exec(line) ?? [];
    const last = sections.at(-1);
    // An answer that imitates the line of a model already shown is only text.
    if (name !== undefined && isModel(name) && !sections.some(([known]) => known === name)) sections.push([name, ""]);
    else if (last !== undefined) last[1] += `${line}\n`;
  }
  return sections.map(([name, answer]) => [name, answer.trim()]);
}

/** `models`: as they were asked for; empty when they are chosen. */
export function createLiveColumns(
  models: readonly string[],
  { write, width }: { readonly write: (text: string) => void; readonly width: () => number },
): LiveColumns {
  let text = "";
  let drawn = 0;
  const isSame = (model: string, name: string) => model === name || `${model}:latest` === name;
  const isModel = (name: string) => models.length === 0 || models.some((model) => isSame(model, name));

  const block = (): string => {
    const sections = sectionsOf(text, isModel);
    const waiting = models.filter((model) => !sections.some(([name]) => isSame(model, name)));
    const columns = [...sections, ...waiting.map((model) => [model, "waits"] as const)];
    const cells = width();
    const most = Math.max(1, Math.floor((cells + 3) / (leastCells + 3)));
    const maxLines = columns.length > most ? stackedLines : tallLines;
    const columnCells = Math.max(1, Math.floor(cells / Math.min(most, columns.length)) - 3);
    return sideBySide(
      columns.map(([title, answer]) => ({ title, text: newest(answer, columnCells, maxLines) })),
      // The last cell of a terminal wraps.
      { width: cells - 1, maxLines, leastCells },
    );
  };
  const clear = (): void => {
    if (drawn > 0) write(`\u001B[${drawn}A\r\u001B[0J`);
    drawn = 0;
  };
  return {
    onText(note) {
      if (note.isReset === true) text = "";
      text += note.text ?? "";
      const lines = block();
      clear();
      write(`${lines}\n`);
      drawn = lines.split("\n").length;
    },
    clear,
  };
}

function newest(text: string, cells: number, maxLines: number): string {
  // Only the end is shown, so only the end is wrapped.
  const tail = text.slice(-cells * maxLines * 4);
  return wrap(tail, cells, Number.POSITIVE_INFINITY).slice(-maxLines).join("\n");
}
