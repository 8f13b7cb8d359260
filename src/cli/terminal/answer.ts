import { cellsOf } from "../../orchestrator/util/columns.ts";
import { oneLine, withoutControls } from "../../orchestrator/util/control-characters.ts";
import { counted, formatDuration, formatAmount, reliabilityLines } from "../../orchestrator/util/format-bytes.ts";
import type { TextNote } from "../../server/daemon/client.ts";
import type { ToolAnswers } from "../../tools/index.ts";
import type { CommandIo } from "./io.ts";
import { hanging, styledError } from "./terminal-text.ts";

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
      // An answer cut at a repetition is shorter than what was written.
      const isWhole = written.trimEnd().endsWith(text.trimEnd()) || written.startsWith(text);
      // Before it may stand, on lines of its own, what the model said before a call of a tool.
      const begins = [0, ...Array.from(written.matchAll(/\n/g), ({ index }) => index + 1)];
      const begin = isWhole ? undefined : begins.find((at) => text.startsWith(written.slice(at)));
      if (begin !== undefined) write(text.slice(written.length - begin));
      else if (!isWhole && text.trim() !== written.trim()) {
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

const tabCells = 8;
/** A line may break before these: their scripts have no spaces between words. */
const breakable = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]`;
const listMark = /^(?:[-*+•]|\d{1,3}[.)])[ \t]+(?=\S)/u;
const openListMark = /^(?:[-*+•]|\d{1,3}[.)]?)[ \t]*$/u;
const fenceMark = /^(`{3,}|~{3,})/;

/** A word with the blanks before it. */
const token = new RegExp(String.raw`([ \t]*)([^ \t](?:(?!${breakable})[^ \t])*)`, "gu");

/**
 * Wraps at words to `columns` cells, which is asked anew for each line. Following lines of a list item, a quote or an
 * indented line are indented to its text. Lines of code blocks and tables, and words that are wider than the terminal,
 * are not touched.
 */
export function createWrapStream(columns: () => number) {
  /** The line of the text so far, and how much of its layout is written. */
  let line = "";
  let written = 0;
  let width = columns();
  let fence: string | undefined;
  let isInList = false;

  /** The layout of the line, as far as nothing that follows can change it; all of it at its end. */
  function layout(isWhole: boolean): string {
    const kind = kindOf(line, fence !== undefined, isInList);
    if (kind === "verbatim") return line;
    if (kind === "unknown" && !isWhole) return "";
    const prefix = kind === "unknown" ? "" : kind.prefix;
    let text = prefix;
    let column = gapCells(prefix, 0);
    const indent = column <= width / 2 ? column : 0;
    for (const { 0: all, 1: blanks = "", 2: word = "", index } of line.slice(prefix.length).matchAll(token)) {
      const cells = cellsOf(word);
      // One that is wider than the terminal is written as it comes.
      if (!isWhole && cells < width && prefix.length + index + all.length === line.length) break;
      const gap = gapCells(blanks, column);
      // The last cell is left free: some terminals wrap there at once.
      const isBroken = column > indent && column + gap + cells > width - 1;
      text += (isBroken ? `\n${" ".repeat(indent)}` : blanks) + word;
      column = (isBroken ? indent : column + gap) + cells;
      // The terminal wraps by itself.
      if (column > width) column = ((column - 1) % width) + 1;
    }
    return text;
  }

  function take(part: string, isWhole: boolean): string {
    if (line === "") width = columns();
    line += part;
    const text = layout(isWhole);
    const more = text.slice(written);
    written = text.length;
    return more;
  }

  function endLine(): void {
    const [mark] = fenceMark.exec(line.trimStart()) ?? [];
    if (fence === undefined) fence = mark;
    else if (mark?.startsWith(fence) === true && line.trim() === mark) fence = undefined;
    // Indented lines behind an item of a list belong to it.
    if (fence === undefined && line.trim() !== "")
      isInList = listMark.test(line.trimStart()) || (isInList && /^[ \t]/.test(line));
    line = "";
    written = 0;
  }

  return {
    push(piece: string) {
      const [last = "", ...whole] = withoutControls(piece).split("\n").toReversed();
      const lines = whole.toReversed().map((part) => {
        const text = take(part, true);
        endLine();
        return `${text}\n`;
      });
      return lines.join("") + take(last, false);
    },
    /** The rest of the held text. */
    flush: () => take("", true),
  };
}

/**
 * The kind of a line by its beginning, as Markdown has it. `prefix` (indentation and the mark of a list or quote) is written
 * as it is, and following lines are indented by it.
 */
function kindOf(
  head: string,
  isCode: boolean,
  isInList: boolean,
): "verbatim" | "unknown" | { readonly prefix: string } {
  if (isCode) return "verbatim";
  const [lead = ""] = /^[ \t]*/.exec(head) ?? [];
  const rest = head.slice(lead.length);
  if (rest === "" || /^(?:`{1,2}|~{1,2})$/.test(rest) || openListMark.test(rest) || /^>[> ]*$/.test(rest)) {
    return "unknown";
  }
  if (rest.startsWith("|") || fenceMark.test(rest)) return "verbatim";
  const [mark = ""] = listMark.exec(rest) ?? /^>[> ]*(?=[^> ])/.exec(rest) ?? [];
  // A code block by its indentation.
  if (mark === "" && !isInList && gapCells(lead, 0) >= 4) return "verbatim";
  return { prefix: lead + mark };
}

function gapCells(blanks: string, column: number): number {
  let cells = column;
  for (const character of blanks) cells += character === "\t" ? tabCells - (cells % tabCells) : cellsOf(character);
  return cells - column;
}

export type Generated = ToolAnswers["route_and_generate"];

/** Notes on an answer for stderr: always what differs from the request; the summary in a terminal or with `--explain`. */
export function noteLines(answer: Generated, isExplained: boolean, io: CommandIo): string {
  const lines = [
    ...notesOn(answer, "--max-tokens sets the limit"),
    ...(isExplained ? explanation(answer) : io.errorColumns === undefined ? [] : [summary(answer)]),
  ];
  return lines
    .map((line) => hangingLine(line, io.errorColumns))
    .map((text) => `${styledError(text, io)}\n`)
    .join("");
}

/**
 * Notes on an answer: that it is empty or truncated, what differs from the request, what its check found, which parts of its
 * files were read, and the query that was run on their rows.
 */
export function notesOn(
  answer: Pick<Generated, "text" | "finish_reason" | "completion_tokens" | "notes" | "check" | "parts" | "query">,
  howToRaise: string,
): readonly string[] {
  const { text = "", finish_reason, completion_tokens, notes = [] } = answer;
  const empty = text.trim() === "" ? ["the answer is empty"] : [];
  const cut = `cut off${completion_tokens === undefined ? "" : ` after ${counted(completion_tokens, "token")}`}; ${howToRaise}`;
  return [...empty, ...(finish_reason === "length" ? [cut] : []), ...notes, ...reliabilityLines(answer).map(oneLine)];
}

/** Whether scripts must not take the answer for granted: its check has a problem, or parts of its files are missing. */
export function isUnreliable({ check, parts }: Pick<Generated, "check" | "parts">): boolean {
  return check?.problem !== undefined || (parts?.missing ?? []).length > 0;
}

/** `smollm2:135m, 41 tokens/s: smallest that fits` */
function summary({ model, tokens_per_second, cost, reason }: Generated): string {
  const speed = tokens_per_second === undefined ? "" : `, ${tokens_per_second} tokens/s`;
  return `${model}${speed}${cost === undefined ? "" : `, ${formatAmount(cost.amount, cost.currency)}`}: ${reason}`;
}

function explanation(answer: Generated): readonly string[] {
  const { route, timing, memory_used } = answer;
  return [
    summary(answer),
    ...(route === undefined ? [] : routeLines(route)),
    ...(route?.attempts ?? []).map(({ model, outcome }) => `  tried ${model}: ${outcome}`),
    ...(timing === undefined
      ? []
      : [
          `queued ${formatDuration(timing.queue_ms)}, loaded in ${formatDuration(timing.load_ms)}, ` +
            `first token after ${formatDuration(timing.first_token_ms)}${timing.cached === undefined ? "" : `; ${timing.cached}`}`,
        ]),
    ...(memory_used === undefined
      ? []
      : [`memories in the prompt: ${memory_used.keys.join(", ")} (${counted(memory_used.tokens, "token")})`]),
  ];
}

/** What would happen, and how the models rank. */
export function renderDryRun({ model, engine, reason, plan, notes = [], route }: Generated, io: CommandIo): string {
  const unloaded = (plan?.evict ?? []).map(({ name }) => name);
  const unloads = unloaded.length === 0 ? "" : `; it would unload ${unloaded.join(", ")}`;
  const lines = [
    `${model} on ${engine} would answer: ${reason}${unloads}`,
    ...notes,
    ...(route === undefined ? [] : routeLines(route)),
  ];
  return lines.map((line) => `${hangingLine(line, io.columns)}\n`).join("");
}

/** Number of models that are listed; `--json` has all. */
const listedModels = 8;

function routeLines(route: NonNullable<Generated["route"]>): readonly string[] {
  const { considered, fallback, options = [] } = route;
  const more = considered.length - listedModels;
  return [
    `task ${route.task}: ${route.because}; profile ${route.profile}${fallback === undefined ? "" : `, served by ${fallback}`}`,
    ...considered.slice(0, listedModels).map(({ model, engine, rejected, expected_seconds, terms = "" }, index) => {
      const isElsewhere = considered.some((other) => other.model === model && other.engine !== engine);
      const name = isElsewhere ? `${model} on ${engine}` : model;
      if (rejected !== undefined) return `  ${name}: ${rejected}`;
      return `  ${index + 1}. ${name}${expected_seconds === undefined ? "" : `: ${expected_seconds} s, ${terms}`}`;
    }),
    ...(more > 0 ? [`  ${more} more, which --json lists`] : []),
    ...(options.length > 0 ? [`options: ${options.join(", ")}`] : []),
  ];
}

/** Wrapped; a line that belongs to the one before it begins with two spaces. */
function hangingLine(line: string, columns: number | undefined): string {
  return hanging(line.startsWith("  ") ? "  " : "", line.trimStart(), { columns });
}
