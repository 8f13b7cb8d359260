import { cellsOf } from "../../orchestrator/util/columns.ts";
import { withoutControls } from "../../orchestrator/util/control-characters.ts";
import type { TextNote } from "../../server/daemon/client.ts";
import type { CommandIo } from "./io.ts";
import { styledError } from "./terminal-text.ts";

/**
 * Writes an answer piece by piece, and its thinking, dimmed, to stderr if that is a terminal. A terminal gets them wrapped
 * at words, a file byte for byte. Reports on stderr when another model starts over.
 */
export function createAnswerStream(io: CommandIo) {
  let written = "";
  let isThinking = false;
  const wrapped = (columns: () => number | undefined) =>
    columns() === undefined ? undefined : createWrapStream(() => columns() ?? 80);
  let answer = wrapped(() => io.columns);
  let thoughts = wrapped(() => io.errorColumns);

  function endThinking(lineEnds: string): void {
    if (isThinking) io.stderr(`${styledError(thoughts?.flush() ?? "", io)}${lineEnds}`);
    isThinking = false;
    thoughts = wrapped(() => io.errorColumns);
  }

  function write(text: string): void {
    if (text === "") return;
    endThinking("\n\n");
    written += text;
    io.content(answer === undefined ? text : answer.push(text));
  }

  function endLine(): void {
    endThinking("\n");
    if (answer !== undefined) io.content(answer.flush());
    if (written !== "" && !written.endsWith("\n")) io.content("\n");
    answer = wrapped(() => io.columns);
  }

  return {
    onText({ text, thinking, isReset }: TextNote) {
      if (isReset === true) {
        const hadText = written !== "";
        endLine();
        written = "";
        if (hadText) io.stderr("ollm: that answer failed; the next one starts over\n");
      }
      if (thinking !== undefined && io.errorColumns !== undefined) {
        isThinking = true;
        io.stderr(styledError(thoughts?.push(thinking) ?? thinking, io));
      }
      if (text !== undefined) write(text);
    },
    /** Writes the rest of the whole text, and ends its last line. */
    end(text: string) {
      if (text.startsWith(written)) write(text.slice(written.length));
      // An answer cut at a repetition is shorter than what was written.
      else if (!written.startsWith(text) && text.trim() !== written.trim()) {
        endLine();
        written = "";
        write(text);
      }
      endLine();
    },
    /** Ends the line of an incomplete answer. */
    cut: endLine,
  };
}

/** The kind of a line by its beginning, as Markdown has it. */
type LineKind =
  /** `prefix` (indentation and the mark of a list or quote) is written as it is, and following lines are indented by it. */
  { readonly kind: "text"; readonly prefix: string } | { readonly kind: "verbatim" } | { readonly kind: "unknown" };

const tabCells = 8;
/** A line may break before these: their scripts have no spaces between words. */
const breakable = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const listMark = /^(?:[-*+•]|\d{1,3}[.)])[ \t]+(?=\S)/u;
const openListMark = /^(?:[-*+•]|\d{1,3}[.)]?)[ \t]*$/u;
const fenceMark = /^(`{3,}|~{3,})/;

/**
 * Wraps at words to `columns` cells, which is asked anew for each word. Following lines of a list item, a quote or an
 * indented line are indented to its text. Lines of code blocks and tables, and words that are wider than the terminal,
 * are not touched.
 */
export function createWrapStream(columns: () => number) {
  /** The beginning of a line whose kind is not known yet; undefined behind it. */
  let head: string | undefined = "";
  let isVerbatim = false;
  /** The line so far, in case that it ends a code block. */
  let line = "";
  let fence: string | undefined;
  let isInList = false;
  let indent = 0;
  /** Cells that are written on the current line. */
  let column = 0;
  let blanks = "";
  let word = "";
  /** The current word is wider than the terminal and is written as it comes. */
  let isEndless = false;
  let out = "";

  function write(text: string, cells: number): void {
    out += text;
    column += cells;
    // The terminal wraps by itself.
    if (column > columns()) column = ((column - 1) % columns()) + 1;
  }

  function writeWord(): void {
    if (word === "") return;
    // The last cell is left free: some terminals wrap there at once.
    const width = columns() - 1;
    const cells = cellsOf(word);
    const gap = gapCells(blanks, column);
    if (column > indent && column + gap + cells > width) {
      out += `\n${" ".repeat(indent)}`;
      column = indent;
    } else write(blanks, gap);
    write(word, cells);
    blanks = "";
    word = "";
  }

  function beginLine(kind: Exclude<LineKind, { kind: "unknown" }>, text: string): void {
    head = undefined;
    isVerbatim = kind.kind === "verbatim";
    if (kind.kind === "verbatim") return void (out += text);
    const cells = gapCells(kind.prefix, 0);
    indent = cells <= columns() / 2 ? cells : 0;
    write(kind.prefix, cells);
    for (const character of text.slice(kind.prefix.length)) take(character);
  }

  function take(character: string): void {
    if (character === " " || character === "\t") {
      writeWord();
      isEndless = false;
      blanks += character;
      return;
    }
    if (isEndless) return write(character, cellsOf(character));
    if (breakable.test(character)) writeWord();
    word += character;
    if (word.length >= columns() && cellsOf(word) >= columns()) {
      writeWord();
      isEndless = true;
    }
  }

  function endLine(): void {
    if (head !== undefined && head !== "") beginLine(settled(kindOf(head, fence !== undefined, isInList)), head);
    writeWord();
    const [mark] = fenceMark.exec(line.trimStart()) ?? [];
    if (fence === undefined) fence = mark;
    else if (mark?.startsWith(fence) === true && line.trim() === mark) fence = undefined;
    if (fence === undefined && line.trim() !== "") isInList = isListLine(line, isInList);
    out += "\n";
    [head, isVerbatim, line, blanks, isEndless, column, indent] = ["", false, "", "", false, 0, 0];
  }

  function next(character: string): void {
    if (character === "\n") return endLine();
    line += character;
    if (isVerbatim) out += character;
    else if (head === undefined) take(character);
    else {
      head += character;
      const kind = kindOf(head, fence !== undefined, isInList);
      if (kind.kind !== "unknown") beginLine(kind, head);
    }
  }

  function written(): string {
    const text = out;
    out = "";
    return text;
  }

  return {
    push(piece: string) {
      for (const character of withoutControls(piece)) next(character);
      return written();
    },
    /** The rest of the held text. */
    flush() {
      if (head !== undefined && head !== "") beginLine(settled(kindOf(head, fence !== undefined, isInList)), head);
      writeWord();
      return written();
    },
  };
}

function kindOf(head: string, isCode: boolean, isInList: boolean): LineKind {
  if (isCode) return { kind: "verbatim" };
  const [lead = ""] = /^[ \t]*/.exec(head) ?? [];
  const rest = head.slice(lead.length);
  if (rest === "" || /^(?:`{1,2}|~{1,2})$/.test(rest) || openListMark.test(rest) || /^>[> ]*$/.test(rest)) {
    return { kind: "unknown" };
  }
  if (rest.startsWith("|") || fenceMark.test(rest)) return { kind: "verbatim" };
  const [mark = ""] = listMark.exec(rest) ?? /^>[> ]*(?=[^> ])/.exec(rest) ?? [];
  // A code block by its indentation.
  if (mark === "" && !isInList && gapCells(lead, 0) >= 4) return { kind: "verbatim" };
  return { kind: "text", prefix: lead + mark };
}

/** The kind of a line that has ended. */
function settled(kind: LineKind): Exclude<LineKind, { kind: "unknown" }> {
  return kind.kind === "unknown" ? { kind: "text", prefix: "" } : kind;
}

/** Indented lines behind an item of a list belong to it. */
function isListLine(line: string, isInList: boolean): boolean {
  return listMark.test(line.trimStart()) || (isInList && /^[ \t]/.test(line));
}

function gapCells(blanks: string, column: number): number {
  let cells = column;
  for (const character of blanks) cells += character === "\t" ? tabCells - (cells % tabCells) : cellsOf(character);
  return cells - column;
}
