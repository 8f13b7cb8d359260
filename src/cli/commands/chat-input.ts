import { createInterface, type Interface } from "node:readline";
import { Writable } from "node:stream";
import { terminalText } from "../terminal/terminal-text.ts";

/** The lines that the user types in a chat. */
export type ChatInput = Pick<TypedChatInput, "next" | "nextOf" | "ask" | "during" | "hasLeft" | "close">;

interface ChatStreams {
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
export class TypedChatInput {
  readonly #streams: ChatStreams;
  readonly #lines: Interface;
  readonly #onResize: () => void;
  readonly #waiting: string[] = [];
  #wake: () => void = () => undefined;
  #isMuted = false;
  #isClosed = false;
  #isLeaving = false;
  #interrupts = 0;
  #onInterrupt: (() => void) | undefined;
  /** Ctrl-C was pressed at a question. */
  #isDropped = false;
  /** A question is shown, or a message of several lines has begun. */
  #isAsking = false;

  constructor(streams: ChatStreams) {
    const { input, output, isTerminal, completions } = streams;
    this.#streams = streams;
    const screen = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        if (!this.#isMuted) output.write(chunk);
        done();
      },
    });
    Object.defineProperty(screen, "columns", { get: () => output.columns || 80 });
    this.#onResize = () => void screen.emit("resize");
    output.on("resize", this.#onResize);
    this.#lines = createInterface({
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
    this.#lines.on("line", (line) => {
      this.#interrupts = 0;
      this.#waiting.push(line);
      this.#wake();
    });
    this.#lines.on("close", () => {
      this.#isClosed = true;
      this.#wake();
    });
    this.#lines.on("SIGINT", () => this.#interrupted());
  }

  /**
   * The next message: a line, pasted lines, or the text between two `"""`. Undefined at the end: Ctrl-D, Ctrl-C twice,
   * end of the piped input.
   */
  async next(prompt: string): Promise<string | undefined> {
    const first = await this.#nextLine(prompt);
    if (first === undefined) return undefined;
    // A discarded message is empty.
    return (await this.#whole(first)) ?? "";
  }

  /** A message that a command asks for; undefined also after Ctrl-C. */
  nextOf(prompt: string): Promise<string | undefined> {
    return this.#asking(async () => {
      const first = await this.#nextLine(prompt);
      return first === undefined ? undefined : this.#whole(first);
    });
  }

  /** Asks a question and resolves to a trimmed line; "" at the end of the input or after Ctrl-C. */
  async ask(question: string): Promise<string> {
    const wasMuted = this.#isMuted;
    this.#isMuted = false;
    try {
      return ((await this.#asking(() => this.#nextLine(question))) ?? "").trim();
    } finally {
      this.#isMuted = wasMuted;
    }
  }

  /** Runs `work` without reading; Ctrl-C calls `interrupted`, a second one ends the chat. */
  async during<Value>(interrupted: () => void, work: () => Promise<Value>): Promise<Value> {
    this.#isMuted = true;
    this.#interrupts = 0;
    this.#onInterrupt = interrupted;
    try {
      return await work();
    } finally {
      this.#onInterrupt = undefined;
      this.#isDropped = false;
      this.#isMuted = false;
    }
  }

  /** The chat ends after the current message. */
  hasLeft(): boolean {
    return this.#isLeaving || (this.#isClosed && this.#waiting.length === 0);
  }

  close(): void {
    this.#streams.output.off("resize", this.#onResize);
    this.#lines.close();
  }

  #interrupted(): void {
    this.#interrupts += 1;
    if (this.#onInterrupt !== undefined) {
      if (this.#interrupts > 1) this.#isLeaving = true;
      this.#isDropped = true;
      this.#onInterrupt();
      return this.#wake();
    }
    if (this.#isAsking && !this.#isClosed) {
      this.#isDropped = true;
      this.#clearLine();
      this.#streams.output.write("\n");
      return this.#wake();
    }
    if (this.#interrupts > 1 || this.#isClosed) {
      this.#isLeaving = true;
      this.#streams.output.write("\n");
      return this.#wake();
    }
    this.#clearLine();
    this.#streams.output.write("\n(Ctrl-C again exits)\n");
    this.#lines.prompt();
  }

  /** Deletes the typed text, as a shell does. */
  #clearLine(): void {
    this.#lines.write(null, { ctrl: true, name: "e" });
    this.#lines.write(null, { ctrl: true, name: "u" });
  }

  /** During `work` Ctrl-C only ends the question. */
  async #asking<Value>(work: () => Promise<Value>): Promise<Value> {
    const wasAsking = this.#isAsking;
    this.#isAsking = true;
    try {
      return await work();
    } finally {
      this.#isAsking = wasAsking;
      // During a call, Ctrl-C drops all its questions.
      if (!this.#isAsking && this.#onInterrupt === undefined) {
        this.#isDropped = false;
        this.#interrupts = 0;
      }
    }
  }

  async #nextLine(prompt: string): Promise<string | undefined> {
    if (this.#streams.isTerminal && !this.#isClosed && this.#waiting.length === 0) {
      this.#lines.setPrompt(terminalText(prompt));
      // Keeps what was typed during the answer.
      this.#lines.prompt(true);
    }
    for (;;) {
      if (this.#isLeaving || this.#isDropped) return undefined;
      if (this.#waiting.length > 0 || this.#isClosed) return this.#waiting.shift();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async #rest(first: string): Promise<string | undefined> {
    const parts = [first.slice(first.indexOf(fence) + fence.length)];
    for (;;) {
      const text = parts.join("\n").trimEnd();
      if (text.endsWith(fence)) return text.slice(0, -fence.length).replace(/^\n/, "").trimEnd();
      const more = await this.#nextLine("... ");
      // Piped input ends the message; Ctrl-C discards it.
      if (more === undefined) return this.#isDropped ? undefined : text;
      parts.push(more);
    }
  }

  /** The message that begins with this line: with the lines pasted with it, or those before the next fence. */
  async #whole(first: string): Promise<string | undefined> {
    if (first.trimStart().startsWith(fence)) return this.#asking(() => this.#rest(first));
    if (!this.#streams.isTerminal) return first;
    await new Promise((resolve) => setTimeout(resolve, pasteMs));
    const pasted = first.startsWith("/") ? [] : this.#waiting.splice(0);
    return [first, ...pasted].join("\n");
  }
}
