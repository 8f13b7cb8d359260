import { describe, expect, it } from "vitest";
import { createAnswerStream } from "../../../src/cli/terminal/answer.ts";
import type { CommandIo } from "../../../src/cli/terminal/io.ts";
import { terminalText } from "../../../src/cli/terminal/terminal-text.ts";

function start(columns?: number) {
  const out: string[] = [];
  const err: string[] = [];
  const io = {
    content: (text: string) => void out.push(columns === undefined ? text : terminalText(text)),
    stderr: (text: string) => void err.push(terminalText(text)),
    columns,
    errorColumns: columns,
  } as unknown as CommandIo;
  return { stream: createAnswerStream(io), out: () => out.join(""), err: () => err.join("") };
}

describe("createAnswerStream", () => {
  it("prints what comes, and at the end what is missing", () => {
    const { stream, out } = start();
    stream.onText({ text: "The sky" });
    stream.onText({ text: " is" });
    expect(out()).toBe("The sky is");
    stream.end("The sky is blue.");
    expect(out()).toBe("The sky is blue.\n");
  });

  it("prints an answer that came in one piece, and adds no second line end", () => {
    const { stream, out } = start();
    stream.end("One.\n");
    expect(out()).toBe("One.\n");
  });

  it("says that another model starts over, on a line of its own", () => {
    const { stream, out, err } = start();
    stream.onText({ text: "Nonsen" });
    stream.onText({ isReset: true, text: "The sky" });
    stream.end("The sky is blue.");
    expect(out()).toBe("Nonsen\nThe sky is blue.\n");
    expect(err()).toContain("starts over");
  });

  it("says nothing of a start over that nobody saw", () => {
    const { stream, out, err } = start();
    stream.onText({ isReset: true });
    stream.end("Yes.");
    expect([out(), err()]).toEqual(["Yes.\n", ""]);
  });

  it("prints the answer as it is where it differs from what came", () => {
    const { stream, out } = start();
    stream.onText({ text: "Yes" });
    stream.end("No");
    expect(out()).toBe("Yes\nNo\n");
  });

  it.each(["", "Do", "Done.", "Done.\n"])("completes an answer after text before a call of a tool: %j", (piece) => {
    const { stream, out } = start();
    stream.onText({ text: "Let me\nlook.\n" });
    stream.onText({ text: piece });
    stream.end("Done.");
    expect(out()).toBe("Let me\nlook.\nDone.\n");
  });

  it("does not print an answer again that was cut where it repeated itself", () => {
    const { stream, out } = start();
    stream.onText({ text: "It rains. It rains. It" });
    stream.end("It rains.");
    expect(out()).toBe("It rains. It rains. It\n");
  });

  it("keeps control characters off a terminal, and in a file as they are", () => {
    const text = "a\u001B[2Jb\tc\n";
    const terminal = start(80);
    terminal.stream.end(text);
    expect(terminal.out()).toBe("a[2Jb\tc\n");
    const file = start();
    file.stream.end(text);
    expect(file.out()).toBe(text);
  });

  it("keeps an escape sequence off a terminal that comes in two pieces, in the answer and in its thinking", () => {
    const terminal = start(80);
    terminal.stream.onText({ thinking: "Hm\u001B" });
    terminal.stream.onText({ thinking: "]0;title\u0007" });
    terminal.stream.onText({ text: "a\u001B" });
    terminal.stream.onText({ text: "[31mb\u009B" });
    terminal.stream.onText({ text: "2Jc\u202E" });
    terminal.stream.end("a\u001B[31mb\u009B2Jc\u202E");
    expect([terminal.out(), terminal.err()]).toEqual(["a[31mb2Jc\n", "Hm]0;title\n\n"]);
  });

  it("shows thinking on stderr of a terminal alone", () => {
    const terminal = start(80);
    terminal.stream.onText({ thinking: "Hm" });
    terminal.stream.onText({ text: "Yes." });
    terminal.stream.end("Yes.");
    expect([terminal.out(), terminal.err()]).toEqual(["Yes.\n", "Hm\n\n"]);
    const file = start();
    file.stream.onText({ thinking: "Hm" });
    file.stream.end("Yes.");
    expect([file.out(), file.err()]).toEqual(["Yes.\n", ""]);
  });
});
