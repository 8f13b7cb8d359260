import { describe, expect, it } from "vitest";
import { createLiveColumns, sectionsOf } from "../../../src/cli/shell/live-columns.ts";

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
  it("are drawn again in place, the newest lines of each, and taken away at the end", () => {
    const written: string[] = [];
    const live = createLiveColumns(["a", "b"], { write: (text) => written.push(text), width: () => 60 });
    live.onText({ text: "=== a ===\nBecause" });
    live.onText({ text: ` of light. ${"More and more. ".repeat(40)}End.` });
    live.clear();
    live.clear();
    expect(written[0]).toMatchInlineSnapshot(`
      "a                            | b
      ---                          | ---
      Because                      | waits
      "
    `);
    expect(written[1]).toBe("\u001B[3A\r\u001B[0J");
    expect(written[2]).toContain("End.");
    expect(written[2]?.split("\n").length).toBeLessThanOrEqual(11);
    expect(written[3]?.endsWith("A\r\u001B[0J")).toBe(true);
    expect(written).toHaveLength(4);
  });

  it("begin anew when a model does", () => {
    const written: string[] = [];
    const live = createLiveColumns([], { write: (text) => written.push(text), width: () => 60 });
    live.onText({ text: "=== a ===\nwrong" });
    live.onText({ isReset: true, text: "=== a ===\nright" });
    expect(written.at(-1)).toContain("right");
    expect(written.at(-1)).not.toContain("wrong");
  });
});
