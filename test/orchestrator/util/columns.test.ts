import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { alignRows, cellsOf, plain, sideBySide, wrap } from "../../../src/orchestrator/util/columns.ts";

describe("texts in columns", () => {
  it("are wrapped at words and cut with an ellipsis", () => {
    const shown = sideBySide(
      [
        { title: "llama3.2:3b", text: "The sky is blue because of Rayleigh scattering." },
        { title: "qwen2.5:7b", text: "Light.\n\nShort waves scatter more, so blue reaches you from everywhere." },
      ],
      { width: 55, maxLines: 3 },
    );
    expect(shown).toMatchInlineSnapshot(`
      "llama3.2:3b                | qwen2.5:7b
      -----------                | ----------
      The sky is blue because of | Light.
      Rayleigh scattering.       |
                                 | Short waves scatter more,…"
    `);
  });

  it("wrap into more rows if the line is too narrow", () => {
    const columns = ["a", "b", "c", "d", "e"].map((title) => ({ title, text: `${title} text` }));
    const shown = sideBySide(columns, { width: 100, maxLines: 3 });
    expect(shown.split("\n\n")).toHaveLength(2);
    expect(sideBySide(columns, { width: 20, maxLines: 3 }).split("\n\n")).toHaveLength(5);
  });

  it("never exceed the width, whatever the text", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 200 });
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), fc.integer({ min: 30, max: 120 }), (texts, width) => {
        const shown = sideBySide(
          texts.map((each, index) => ({ title: `model ${index}`, text: each })),
          { width, maxLines: 4 },
        );
        for (const line of shown.split("\n")) expect(cellsOf(line)).toBeLessThanOrEqual(width);
      }),
    );
  });
});

describe("wrapping", () => {
  it.each([
    ["short", 10, ["short"]],
    ["two words", 5, ["two", "words"]],
    ["abcdefghij", 4, ["abcd", "efgh", "ij"]],
    ["a\n\nb", 4, ["a", "", "b"]],
    ["日本語です", 4, ["日本", "語で", "す"]],
    ["  indented", 20, ["  indented"]],
  ])("%j in %i cells", (text, cells, lines) => {
    expect(wrap(text, cells, 99)).toEqual(lines);
  });

  it("marks where a text was cut", () => {
    expect(wrap("one two three four", 5, 2)).toEqual(["one", "two…"]);
    expect(wrap("aaaaa bbbbb ccccc", 5, 2)).toEqual(["aaaaa", "bbbb…"]);
  });
});

it("escape sequences of a model are removed", () => {
  expect(plain("\u001B[2Jgone\u0008\r\nnext\tone\u009B31m")).toMatch(/^gone\nnext  one$/);
  expect(plain("a\tb\r\nc")).toBe("a  b\nc");
});

it("numbers in rows are right-aligned", () => {
  expect(
    alignRows(
      [
        ["model", "tokens"],
        ["a", "7"],
      ],
      [false, true],
    ),
  ).toBe("model  tokens\na           7");
});
