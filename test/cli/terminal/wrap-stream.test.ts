import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createWrapStream } from "../../../src/cli/terminal/answer.ts";
import { cellsOf } from "../../../src/orchestrator/util/columns.ts";

function wrapped(text: string, columns: number, pieces: readonly string[] = [text]): string {
  const stream = createWrapStream(() => columns);
  return pieces.map((piece) => stream.push(piece)).join("") + stream.flush();
}

describe("createWrapStream", () => {
  it("breaks lines at words, and keeps the line breaks of the text", () => {
    expect(wrapped("The quick brown fox jumps over\nthe lazy dog.\n\nEnd", 20)).toBe(
      "The quick brown fox\njumps over\nthe lazy dog.\n\nEnd",
    );
  });

  it("indents what follows to the text of a list's item, a quote, or an indented line", () => {
    expect(wrapped("- one two three four\n  12. one two three\n> one two three four\n* x", 14)).toBe(
      "- one two\n  three four\n  12. one two\n      three\n> one two\n  three four\n* x",
    );
  });

  it("takes bold words, dashes and numbers at the start of a line for text", () => {
    expect(wrapped("**one** two three\n2024 was a year\n-x y z one two", 12)).toBe(
      "**one** two\nthree\n2024 was a\nyear\n-x y z one\ntwo",
    );
  });

  it("leaves code blocks and tables alone", () => {
    const code = "```js\nconst aLongName = anotherLongName + 1; // and more\n  ```\n~~~\n``` a b c d e f g h i\n~~~\n";
    const table = "| a column | another column | c |\n|---|---|---|\n";
    const indented = "    let x = one + two + three + four;\n";
    for (const text of [code, table, indented]) expect(wrapped(text, 20)).toBe(text);
    expect(wrapped("```\na b c d e f\n```\none two three", 9)).toBe("```\na b c d e f\n```\none two\nthree");
    expect(wrapped("- item\n    one two three four", 14)).toBe("- item\n    one two\n    three\n    four");
  });

  it("does not cut words that are wider than the terminal, such as addresses, and goes on behind them", () => {
    const address = `https://example.org/${"a".repeat(41)}`;
    expect(wrapped(`See ${address} for more about it.`, 20)).toBe(`See\n${address} for more about\nit.`);
  });

  it("breaks Chinese and Japanese anywhere but before punctuation", () => {
    expect(wrapped("春眠不覺曉，處處聞啼鳥。", 11)).toBe("春眠不覺\n曉，處處聞\n啼鳥。");
  });

  it("writes a word as soon as it ends, and no control characters", () => {
    const stream = createWrapStream(() => 40);
    expect(["He", "llo wor", "ld", "\u001B", "[31m! ", "x"].map((piece) => stream.push(piece))).toEqual([
      "",
      "Hello",
      "",
      "",
      " world[31m!",
      "",
    ]);
    expect(stream.flush()).toBe(" x");
  });

  it("gives the same lines however the text comes, at any width, with all words in order and none too long", () => {
    const words = fc.array(fc.constantFrom("a", "word", "longer-word", "`x`", "日本", "é", "-", "1.", "🙂"), {
      minLength: 1,
    });
    const lines = fc.array(words.map((line) => line.join(" ")));
    fc.assert(
      fc.property(lines, fc.integer({ min: 20, max: 80 }), fc.integer({ min: 1, max: 9 }), (all, columns, size) => {
        const text = all.join("\n");
        const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, index) =>
          text.slice(index * size, (index + 1) * size),
        );
        const result = wrapped(text, columns, pieces.some((piece) => /[\uD800-\uDFFF]/.test(piece)) ? [text] : pieces);
        expect(result).toBe(wrapped(text, columns));
        expect(result.split(/\s+/).join("")).toBe(text.split(/\s+/).join(""));
        for (const line of result.split("\n")) expect(cellsOf(line)).toBeLessThan(columns);
      }),
    );
  });
});
