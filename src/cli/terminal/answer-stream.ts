import type { TextNote } from "../../server/daemon/client.ts";
import type { CommandIo } from "./io.ts";
import { styledError } from "./terminal-text.ts";
import { createWrapStream } from "./wrap-stream.ts";

/** Writes an answer to stdout while it is generated. */
export interface AnswerStream {
  onText(note: TextNote): void;
  /** Writes the rest of the whole text, and ends its last line. */
  end(text: string): void;
  /** Ends the line of an incomplete answer. */
  cut(): void;
}

/**
 * Writes an answer piece by piece, and its thinking, dimmed, to stderr if that is a terminal. A terminal gets them wrapped
 * at words, a file byte for byte. Reports on stderr when another model starts over.
 */
export function createAnswerStream(io: CommandIo): AnswerStream {
  let written = "";
  let isThinking = false;
  const wrapped = (columns: () => number | undefined) =>
    columns() === undefined ? undefined : createWrapStream(() => columns() ?? 80);
  let answer = wrapped(() => io.columns);
  let thoughts = wrapped(() => io.errorColumns);

  function endThinking(lineEnds: string): void {
    if (isThinking) io.stderr(`${styledError(thoughts?.flush() ?? "", "dim", io)}${lineEnds}`);
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
    onText({ text, thinking, isReset }) {
      if (isReset === true) {
        const hadText = written !== "";
        endLine();
        written = "";
        if (hadText) io.stderr("ollm: the model failed; another one starts over\n");
      }
      if (thinking !== undefined && io.errorColumns !== undefined) {
        isThinking = true;
        io.stderr(styledError(thoughts?.push(thinking) ?? thinking, "dim", io));
      }
      if (text !== undefined) write(text);
    },
    end(text) {
      if (text.startsWith(written)) write(text.slice(written.length));
      // An answer cut at a repetition is shorter than what was written.
      else if (!written.startsWith(text) && text.trim() !== written.trim()) {
        endLine();
        written = "";
        write(text);
      }
      endLine();
    },
    cut: endLine,
  };
}
