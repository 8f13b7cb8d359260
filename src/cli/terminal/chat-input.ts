import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";
import { terminalText } from "./terminal-text.ts";

/** The lines that the user types in a chat. */
export interface ChatInput {
  /**
   * The next message: a line, pasted lines, or the text between two `"""`. Undefined at the end: Ctrl-D, Ctrl-C twice,
   * end of the piped input.
   */
  next(prompt: string): Promise<string | undefined>;
  /** A message that a command asks for; undefined also after Ctrl-C. */
  nextOf(prompt: string): Promise<string | undefined>;
  /** Asks a question and resolves to a trimmed line; "" at the end of the input or after Ctrl-C. */
  ask(question: string): Promise<string>;
  /** Runs `work` without reading; Ctrl-C calls `onInterrupt`, a second one ends the chat. */
  during<Value>(onInterrupt: () => void, work: () => Promise<Value>): Promise<Value>;
  /** The chat ends after the current message. */
  hasLeft(): boolean;
  close(): void;
}

export interface ChatStreams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream & { readonly columns?: number };
  readonly isTerminal: boolean;
  /** Words that TAB completes: `/memory`. */
  readonly completions: readonly string[];
}

const fence = '"""';
/** Lines that arrive within this time were pasted. */
const pasteMs = 15;

/** One readline for the whole chat: text typed during an answer is kept, and not echoed. */
export function createChatInput({ input, output, isTerminal, completions }: ChatStreams): ChatInput {
  let isMuted = false;
  const screen = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (!isMuted) output.write(chunk);
      done();
    },
  });
  Object.defineProperty(screen, "columns", { get: () => output.columns || 80 });
  const onResize = (): void => void screen.emit("resize");
  output.on("resize", onResize);
  const lines: Interface = createInterface({
    input,
    ...(isTerminal && { output: screen }),
    terminal: isTerminal,
    historySize: 1_000,
    removeHistoryDuplicates: true,
    completer: (line: string) => [
      line.startsWith("/") ? completions.filter((word) => word.startsWith(line)) : [],
      line,
    ],
  });

  const waiting: string[] = [];
  let wake: () => void = () => undefined;
  let isClosed = false;
  let isLeaving = false;
  let interrupts = 0;
  let onInterrupt: (() => void) | undefined;
  /** Ctrl-C was pressed at a question. */
  let isDropped = false;
  /** A question is shown, or a message of several lines has begun. */
  let isAsking = false;

  lines.on("line", (line) => {
    interrupts = 0;
    waiting.push(line);
    wake();
  });
  lines.on("close", () => {
    isClosed = true;
    wake();
  });
  lines.on("SIGINT", () => {
    interrupts += 1;
    if (onInterrupt !== undefined) {
      if (interrupts > 1) isLeaving = true;
      isDropped = true;
      onInterrupt();
      return wake();
    }
    if (isAsking && !isClosed) {
      isDropped = true;
      clearLine();
      output.write("\n");
      return wake();
    }
    if (interrupts > 1 || isClosed) {
      isLeaving = true;
      output.write("\n");
      return wake();
    }
    clearLine();
    output.write("\n(Ctrl-C again exits)\n");
    lines.prompt();
  });

  /** Deletes the typed text, as a shell does. */
  function clearLine(): void {
    lines.write(null, { ctrl: true, name: "e" });
    lines.write(null, { ctrl: true, name: "u" });
  }

  /** During `work` Ctrl-C only ends the question. */
  async function asking<Value>(work: () => Promise<Value>): Promise<Value> {
    const wasAsking = isAsking;
    isAsking = true;
    try {
      return await work();
    } finally {
      isAsking = wasAsking;
      // During a call, Ctrl-C drops all its questions.
      if (!isAsking && onInterrupt === undefined) {
        isDropped = false;
        interrupts = 0;
      }
    }
  }

  function changed(): Promise<void> {
    return new Promise((resolve) => (wake = resolve));
  }

  async function nextLine(prompt: string): Promise<string | undefined> {
    if (isTerminal && !isClosed && waiting.length === 0) {
      lines.setPrompt(terminalText(prompt));
      // Keeps what was typed during the answer.
      lines.prompt(true);
    }
    for (;;) {
      if (isLeaving || isDropped) return undefined;
      if (waiting.length > 0 || isClosed) return waiting.shift();
      await changed();
    }
  }

  async function rest(first: string): Promise<string | undefined> {
    const parts = [first.slice(first.indexOf(fence) + fence.length)];
    for (;;) {
      const text = parts.join("\n").trimEnd();
      if (text.endsWith(fence)) return text.slice(0, -fence.length).replace(/^\n/, "").trimEnd();
      const more = await nextLine("... ");
      // Piped input ends the message; Ctrl-C discards it.
      if (more === undefined) return isDropped ? undefined : text;
      parts.push(more);
    }
  }

  /** The message that begins with this line: with the lines pasted with it, or those before the next fence. */
  async function whole(first: string): Promise<string | undefined> {
    if (first.trimStart().startsWith(fence)) return asking(() => rest(first));
    if (!isTerminal) return first;
    await new Promise((resolve) => setTimeout(resolve, pasteMs));
    const pasted = first.startsWith("/") ? [] : waiting.splice(0);
    return [first, ...pasted].join("\n");
  }

  return {
    async next(prompt) {
      const first = await nextLine(prompt);
      if (first === undefined) return undefined;
      // A discarded message is empty.
      return (await whole(first)) ?? "";
    },
    nextOf: (prompt) =>
      asking(async () => {
        const first = await nextLine(prompt);
        return first === undefined ? undefined : whole(first);
      }),
    async ask(question) {
      const wasMuted = isMuted;
      isMuted = false;
      try {
        return ((await asking(() => nextLine(question))) ?? "").trim();
      } finally {
        isMuted = wasMuted;
      }
    },
    async during(interrupted, work) {
      isMuted = true;
      interrupts = 0;
      onInterrupt = interrupted;
      try {
        return await work();
      } finally {
        onInterrupt = undefined;
        isDropped = false;
        isMuted = false;
      }
    },
    hasLeft: () => isLeaving || (isClosed && waiting.length === 0),
    close() {
      output.off("resize", onResize);
      lines.close();
    },
  };
}
