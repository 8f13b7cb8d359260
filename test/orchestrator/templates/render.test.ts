import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fill, piecesOf } from "../../../src/orchestrator/templates/render.ts";

/** Fills holes with their name and default in angle brackets. */
function shown(text: string): string {
  return piecesOf(text)
    .map((piece) =>
      typeof piece === "string" ? piece : `<${piece.name}${piece.default === undefined ? "" : `=${piece.default}`}>`,
    )
    .join("");
}
const filled = (text: string, values: Readonly<Record<string, string>>): string =>
  fill(piecesOf(text), (name) => values[name] ?? "");

describe("a template's text", () => {
  it.each([
    ["{a}", "<a>"],
    ["{a:x}{a:}", "<a=x><a=>"],
    ["{_a1:b c: d}", "<_a1=b c: d>"],
    ["{{a}}", "{a}"],
    ["{{{a}}}", "{<a>}"],
    ["a {{ b }} c", "a { b } c"],
    ["{{}}", "{}"],
    ["{}", "{}"],
    ["{ a }", "{ a }"],
    ["{a b}", "{a b}"],
    ["{1a}", "{1a}"],
    ["{a-b}", "{a-b}"],
    ["{ä}", "{ä}"],
    ["{a", "{a"],
    ["a}", "a}"],
    ["a} b}} c", "a} b} c"],
    ["{a:{b}}", "{a:<b>}"],
    ["{a:\nb}", "{a:\nb}"],
    ['{"a": {"b": 1}}', '{"a": {"b": 1}}'],
    ['{"a": {"b": {c}}}', '{"a": {"b": <c>}}'],
    ['{"a": {{}}}', '{"a": {}}'],
    ['{{"a": {{"b": "{c}"}}}}', '{"a": {"b": "<c>"}}'],
    ["if (x) { return {y: 1, z}; }", "if (x) { return <y= 1, z>; }"],
    ["${a} $a %{a}", "$<a> $a %<a>"],
    ["", ""],
  ])("%j parses as %j", (text, expected) => {
    expect(shown(text)).toBe(expected);
  });

  it("gives the line of each hole", () => {
    const lines = piecesOf("{a}\n\n{b} {c}\r\n{{\n{d}").filter((piece) => typeof piece !== "string");
    expect(lines.map(({ name, line }) => [name, line])).toEqual([
      ["a", 1],
      ["b", 3],
      ["c", 3],
      ["d", 5],
    ]);
  });
});

describe("values", () => {
  const any = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("{a}", "{{", "}}", "{b:x}", '{"a":{"b":{a}}}', "$&", "$1", "\\"),
  );

  it("are inserted as they are, even if they look like templates", () => {
    fc.assert(
      fc.property(any, any, (a, b) => {
        expect(filled("1{a}2{b}3{a}4", { a, b })).toBe(`1${a}2${b}3${a}4`);
      }),
    );
  });

  it("never change the text around them, and texts without braces stay the same", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const plain = text.replaceAll(/[{}]/g, "");
        expect(filled(plain, {})).toBe(plain);
      }),
    );
  });

  it("leave a text with doubled braces with single ones", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("{", "}", "a", ":", "\n", " ") }), (text) => {
        expect(filled(text.replaceAll("{", "{{").replaceAll("}", "}}"), {})).toBe(text);
      }),
    );
  });

  it("don't change JSON in the template, however deep", () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (json, a) => {
        fc.pre(!/\{\{|\{[A-Za-z_]\w*[:}]/.test(json));
        // Braces inside its strings need not match.
        fc.pre(!/"[^"]*[{}][^"]*"/.test(json));
        expect(filled(`${json} {a}`, { a })).toBe(`${json} ${a}`);
      }),
    );
  });

  it("are rejected before building a text that would be too long", () => {
    const a = "x".repeat(1024 ** 2);
    expect(filled("{a}".repeat(16), { a })).toHaveLength(16 * 1024 ** 2);
    expect(() => filled("{a}".repeat(80_000), { a })).toThrow(
      "the filled template would have 83886080000 characters; at most 16777216 are allowed",
    );
  });

  it("are inserted quickly into a line with many marks", () => {
    const text = "{a}{{".repeat(50_000);
    expect(filled(text, { a: "x" })).toHaveLength(100_000);
  });
});
