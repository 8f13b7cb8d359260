import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createProgressLine, duration, whileWaiting } from "../../src/cli/terminal/progress-line.ts";
import { terminalText } from "../../src/cli/terminal/terminal-text.ts";

function shown(isTTY: boolean, work: (line: ReturnType<typeof createProgressLine>) => void, columns = 60): string {
  let text = "";
  work(createProgressLine({ stderr: (more) => void (text += more), errorColumns: isTTY ? columns : undefined }));
  return terminalText(text);
}

describe("createProgressLine", () => {
  it("rewrites one line at a terminal, within its width", () => {
    const text = shown(true, (line) => {
      line.show("downloading, 1 of 2 MB", 0.5);
      line.show("checking", undefined);
      line.show("x".repeat(200), undefined);
      line.clear();
    });
    const [first, second, third, erased] = text.slice(1).split("\r");
    expect(first).toBe("[############            ] downloading, 1 of 2 MB");
    expect(second?.trimEnd()).toBe("⠋ checking");
    expect(second).toHaveLength(first?.length ?? 0);
    expect(third).toBe(`⠙ ${"x".repeat(56)}…`);
    expect(erased).toBe(" ".repeat(59));
  });

  it("writes a line for each tenth elsewhere, and for each new work", () => {
    const text = shown(false, (line) => {
      line.show("downloading, 0 of 100 MB", 0);
      for (let step = 1; step < 100; step += 1) line.show(`downloading, ${step} of 100 MB, 9.3 MB/s`, step / 100);
      line.show("downloading, 100 MB", 1);
      line.show("checking a.gguf", undefined);
      line.show("checking a.gguf", undefined);
      line.clear();
    });
    const lines = text.trimEnd().split("\n");
    expect(lines).toHaveLength(12);
    expect(lines[1]).toBe("downloading, 10 of 100 MB, 9.3 MB/s");
    expect(lines.at(-1)).toBe("checking a.gguf");
  });

  it("tells works of one model apart, whose name has digits", () => {
    const text = shown(false, (line) => {
      line.show("smollm2:135m reads the prompt", undefined);
      line.show("smollm2:135m answers", undefined);
      line.show("smollm2:135m: 1 token", undefined);
      line.show("smollm2:135m: 2 tokens", undefined);
    });
    expect(text).toBe("smollm2:135m reads the prompt\nsmollm2:135m answers\nsmollm2:135m: 1 token\n");
  });

  it("says at a terminal how long it will take, once that can be known", () => {
    let text = "";
    let nowMs = 0;
    const line = createProgressLine({ stderr: (more) => void (text += more), errorColumns: 80 }, () => nowMs);
    line.show("pulling a", 0);
    nowMs = 1_000;
    line.show("pulling a", 0.1);
    nowMs = 10_000;
    line.show("pulling a", 0.5);
    line.show("pulling a", 1);
    const shownLines = terminalText(text).split("\r");
    expect(shownLines.map((each) => /, .*left/.exec(each)?.[0])).toEqual([
      undefined,
      undefined,
      undefined,
      ", 10 s left",
      undefined,
    ]);
  });

  it("takes its line away, for what comes in its place", () => {
    const text = shown(true, (line) => {
      line.show("loading", undefined);
      line.clear();
      line.clear();
    });
    expect(text).toBe(`\r⠋ loading\r${" ".repeat(9)}\r`);
  });

  describe("while something waits", () => {
    beforeEach(() => void vi.useFakeTimers());
    afterEach(() => void vi.useRealTimers());

    function start(isTTY: boolean) {
      const written: string[] = [];
      const stderr = (text: string) => void written.push(terminalText(text));
      return { line: createProgressLine({ stderr, errorColumns: isTTY ? 60 : undefined }), written };
    }

    it("turns a spinner, after a moment, until something else is shown", () => {
      const { line, written } = start(true);
      line.wait("working ...");
      vi.advanceTimersByTime(99);
      expect(written).toEqual([]);
      vi.advanceTimersByTime(201);
      expect(written).toEqual(["\r⠋ working ...", "\r⠙ working ...", "\r⠹ working ..."]);
      line.show("loading", 0.5);
      vi.advanceTimersByTime(1_000);
      expect(written).toHaveLength(4);
      line.clear();
    });

    it("shows nothing for what ends soon, and goes on without a gap where the next wait follows", () => {
      const { line, written } = start(true);
      line.wait("working ...");
      vi.advanceTimersByTime(50);
      line.clear();
      vi.advanceTimersByTime(1_000);
      expect(written).toEqual([]);
      line.wait("one", 0);
      line.clear();
      line.wait("two");
      expect(written.at(-1)).toBe("\r⠙ two");
      line.clear();
      vi.advanceTimersByTime(60);
      line.wait("three");
      expect(written.at(-1)).toBe(`\r${" ".repeat(5)}\r`);
      line.clear();
    });

    it("keeps lines that come meanwhile apart from it", () => {
      const { line, written } = start(true);
      line.wait("working ...", 0);
      line.above("ollm: a notice\n");
      expect(written.slice(1)).toEqual([`\r${" ".repeat(13)}\r`, "ollm: a notice\n", "\r⠙ working ..."]);
      line.clear();
      line.above("ollm: another\n");
      expect(written.at(-1)).toBe("ollm: another\n");
    });

    it("is silent where there is no terminal", async () => {
      const { line, written } = start(false);
      line.wait("working ...", 0);
      vi.advanceTimersByTime(1_000);
      line.clear();
      expect(written).toEqual([]);
      line.above("ollm: a notice\n");
      expect(written).toEqual(["ollm: a notice\n"]);
    });

    it("takes the spinner away when the work fails", async () => {
      const written: string[] = [];
      const io = { stderr: (text: string) => void written.push(terminalText(text)), errorColumns: 60 };
      const work = whileWaiting(
        "checking",
        io,
        () => new Promise((_resolve, reject) => setTimeout(() => reject(new Error("no")), 150)),
      );
      const failed = expect(work).rejects.toThrow("no");
      await vi.advanceTimersByTimeAsync(150);
      await failed;
      expect(written).toEqual(["\r⠋ checking", `\r${" ".repeat(10)}\r`]);
    });
  });

  it("gives up the bar before the words in a narrow terminal", () => {
    const text = shown(true, (line) => line.show("pulling smollm2:135m, 12 of 98 MB", 0.12), 40);
    expect(text).toBe("\r12 % pulling smollm2:135m, 12 of 98 MB");
  });

  it("keeps the figures where not even the words have room", () => {
    const text = shown(true, (line) => line.show("pulling smollm2:135m, 12 of 98 MB, 7.5 MB/s", 0.12), 40);
    expect(text).toMatch(/12 of 98 MB, 7\.5 MB\/s$/);
    expect(text.length).toBeLessThanOrEqual(40);
  });

  it.each([
    [8.4, "8 s"],
    [200, "3 min"],
    [4_800, "80 min"],
    [6_000, "1 h 40 min"],
  ])("writes %d seconds as %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  it("leaves nothing when nothing was shown", () => {
    expect(shown(true, (line) => line.clear())).toBe("");
  });
});
