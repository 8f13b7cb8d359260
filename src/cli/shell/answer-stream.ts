import type { TextNote } from "../../server/client.ts";
import type { CommandIo } from "../commands/io.ts";
import { styled } from "./table.ts";

/** Writes an answer to stdout while it is generated. */
export interface AnswerStream {
  onText(note: TextNote): void;
  /** Writes the rest of the whole text, and ends its last line. */
  end(text: string): void;
  /** Ends the line of an incomplete answer. */
  cut(): void;
}

/**
 * Writes an answer piece by piece, and its thinking, dimmed, to stderr if that is a terminal. Reports on stderr when
 * another model starts over.
 */
export function createAnswerStream(io: CommandIo): AnswerStream {
  let written = "";
  let isThinking = false;

  function write(text: string): void {
    if (text === "") return;
    if (isThinking) io.stderr("\n\n");
    isThinking = false;
    written += text;
    io.content(text);
  }

  function endLine(): void {
    if (isThinking) io.stderr("\n");
    isThinking = false;
    if (written !== "" && !written.endsWith("\n")) io.content("\n");
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
        io.stderr(styled(thinking, "dim", io));
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
