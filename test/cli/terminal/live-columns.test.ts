import { describe, expect, it } from "vitest";
import { createLiveColumns, sectionsOf } from "../../../src/cli/terminal/progress-line.ts";
import { terminalText } from "../../../src/cli/terminal/terminal-text.ts";

const isModel = (name: string) => ["a", "b"].includes(name);

describe("the answers in a comparison's text", () => {
  it("stand behind a line with their model's name", () => {
    expect(sectionsOf("=== a ===\nOne.\n\nTwo.\n\n=== b ===\nThree", isModel)).toEqual([
      ["a", "One.\n\nTwo."],
      ["b", "Three"],
    ]);
  });

  it("can't pose as another model", () => {
    const text = "=== a ===\n=== a ===\n=== c ===\n=== b ===\n=== a ===\n";
    expect(sectionsOf(text, isModel)).toEqual([
      ["a", "=== a ===\n=== c ==="],
      ["b", "=== a ==="],
    ]);
  });
});

describe("columns that grow", () => {
  function screen(models: readonly string[], width = 60, height = 24) {
    const written: string[] = [];
    const live = createLiveColumns(models, {
      stderr: (text) => written.push(terminalText(text)),
      errorColumns: width,
      errorRows: height,
    });
    return { live, written };
  }

  /** Without what erases the drawing before it. */
  const drawnBy = (written = "") => written.split("\u001B[0J").at(-1) ?? "";

  it("are drawn again in place and in one piece, the newest lines of each, and taken away at the end", () => {
    const { live, written } = screen(["a", "b"]);
    live.onText({ text: "=== a ===\nBecause" });
    live.onText({ text: ` of light. ${"More and more. ".repeat(40)}End.` });
    live.clear();
    live.clear();
    expect(written[0]).toMatchInlineSnapshot(`
      "a                            | b
      ---                          | ---
      waits                        | waits
      Because                      |
      "
    `);
    expect(written[1]?.startsWith("\u001B[4A\r\u001B[0J")).toBe(true);
    expect(written[1]).toContain("End.");
    expect(written[1]?.split("\n").length).toBeLessThanOrEqual(12);
    expect(drawnBy(written[2])).toBe("");
    expect(written).toHaveLength(3);
  });

  it("say how far each model is, and what is done when none is asked", () => {
    const { live, written } = screen([], 80);
    live.onProgress("looking at the models");
    expect(written.at(-1)).toBe("\nlooking at the models\n");
    live.onProgress("a:1b: done, 12.5 tokens/s | b:2b: loading b:2b | c:3b: waits");
    live.onText({ text: "=== a:1b ===\nBecause." });
    expect(drawnBy(written.at(-1))).toMatchInlineSnapshot(`
      "a:1b                     | b:2b                     | c:3b
      ----                     | ----                     | ----
      done, 12.5 tokens/s      | loading b:2b             | waits
      Because.                 |                          |
      "
    `);
    live.onProgress("d:7b judges, order 1 of 2");
    expect(written.at(-1)).toMatch(/\nd:7b judges, order 1 of 2\n$/);
  });

  it.each([
    [100, 30],
    [50, 24],
    [24, 10],
    [5, 3],
  ])("fit a screen of %i columns and %i rows, however many models", (width, height) => {
    const models = ["a:1b", "b:1b", "c:1b", "d:1b", "a-model-with-a-name-that-is-long-beyond-all-measure:70b"];
    const { live, written } = screen(models, width, height);
    live.onProgress(models.map((model) => `${model}: waits`).join(" | "));
    live.onText({ text: models.map((model) => `=== ${model} ===\n${"One more word. ".repeat(60)}\n`).join("\n") });
    live.onProgress("a:1b judges, order 1 of 2");
    for (const drawing of written) {
      const lines = drawnBy(drawing).split("\n").slice(0, -1);
      expect(lines.length).toBeLessThan(height);
      for (const line of lines) expect(line.length).toBeLessThan(width);
    }
  });

  it("are taken away wholly from a terminal that became narrower", () => {
    const written: string[] = [];
    let cells = 80;
    const live = createLiveColumns(["a", "b"], {
      stderr: (text) => written.push(terminalText(text)),
      get errorColumns() {
        return cells;
      },
      errorRows: 24,
    });
    live.onText({ text: "=== a ===\nBecause." });
    const drawn = (written[0] ?? "").trimEnd().split("\n");
    cells = 30;
    live.clear();
    const rows = drawn.reduce((sum, line) => sum + Math.ceil(line.length / cells), 0);
    expect(rows).toBeGreaterThan(drawn.length);
    expect(written.at(-1)).toBe(`\u001B[${rows}A\r\u001B[0J`);
  });

  it("begin anew when a model does", () => {
    const { live, written } = screen([]);
    live.onText({ text: "=== a ===\nwrong" });
    live.onText({ isReset: true, text: "=== a ===\nright" });
    expect(written.at(-1)).toContain("right");
    expect(written.at(-1)).not.toContain("wrong");
  });
});
