import type { TextNote } from "../../server/client.ts";
import type { CommandIo } from "../commands/io.ts";
import { styled } from "./table.ts";

/** An answer on its way to stdout, as it grows. */
export interface AnswerStream {
  onText(note: TextNote): void;
  /** Writes what is missing of the whole text, and ends its last line. */
  end(text: string): void;
  /** Ends the line of an answer that was broken off. */
  cut(): void;
}

/**
 * Writes an answer piece by piece; thinking, dim, to stderr, where that is a terminal. When another model starts over,
 * stderr says so.
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
        if (hadText) io.stderr("ollm: that model failed; what follows starts over with another\n");
      }
      if (thinking !== undefined && io.errorColumns !== undefined) {
        isThinking = true;
        io.stderr(styled(thinking, "dim", io));
      }
      if (text !== undefined) write(text);
    },
    end(text) {
      if (text.startsWith(written)) write(text.slice(written.length));
      // One that is cut where it repeated itself has more on the screen than in the answer.
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
