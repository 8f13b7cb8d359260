import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type SplitSource, type TextPart, splitTexts } from "../../../src/orchestrator/generation/split-text.ts";
import { estimateTokens } from "../../../src/orchestrator/routing/tokens.ts";

const frameTokens = 10;

function split(sources: readonly SplitSource[], maxTokens: number): readonly TextPart[] {
  return splitTexts(sources, { maxTokens, frameTokens, countTokens: estimateTokens });
}

const one = (path: string, text: string, maxTokens: number) => split([{ path, text }], maxTokens);
const namesOf = (parts: readonly TextPart[]) => parts.map(({ name }) => name);

/** Paragraphs of about 40 tokens. */
const prose = (paragraphs: number) =>
  Array.from({ length: paragraphs }, (_, index) => `Paragraph ${index} says ${"word ".repeat(35)}.\n\n`).join("");

describe("any text", () => {
  const line = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.constantFrom(
      "",
      "# Title",
      "## Ports",
      "```",
      "function run() {",
      "class A:",
      "    def b(self):",
      "}",
      "\r",
      "漢字".repeat(200),
    ),
    fc.nat(2000).map((length) => "QUJDREVG".repeat(length)),
  );
  const source = fc.record({
    path: fc.constantFrom("a.md", "b.ts", "c.py", "d.log", "git:diff"),
    text: fc.array(line, { maxLength: 60 }).map((lines) => lines.join("\n")),
  });

  it("is the text of its parts, joined; each within the limit, with its lines", () => {
    fc.assert(
      fc.property(fc.array(source, { maxLength: 5 }), fc.integer({ min: 64, max: 2000 }), (given, maxTokens) => {
        const sources = given.map((each, index) => ({ ...each, path: `${index}/${each.path}` }));
        const parts = split(sources, maxTokens);
        for (const { path, text } of sources) {
          const passages = parts.flatMap((part) => part.passages).filter((passage) => passage.path === path);
          expect(passages.map((passage) => passage.text).join("")).toBe(text);
          let start = 0;
          for (const passage of passages) {
            const before = text.slice(0, start);
            expect(passage.firstLine).toBe(before.split("\n").length);
            start += passage.text.length;
            const until = text.slice(0, passage.text.endsWith("\n") ? start - 1 : start);
            expect(passage.lastLine).toBe(until.split("\n").length);
          }
        }
        for (const { tokens, passages } of parts) {
          expect(tokens).toBeLessThanOrEqual(maxTokens);
          const counted = passages.reduce((sum, { text }) => sum + estimateTokens(text) + frameTokens, 0);
          expect(counted).toBeLessThanOrEqual(maxTokens * 1.01 + 2);
          expect(passages.length).toBeGreaterThan(0);
        }
        expect(new Set(namesOf(parts)).size).toBe(parts.length);
      }),
    );
  });

  it("leaves no two neighbours that would fit one part", () => {
    fc.assert(
      fc.property(fc.array(source, { maxLength: 4 }), (given) => {
        const parts = split(
          given.map((each, index) => ({ ...each, path: `${index}/${each.path}` })),
          300,
        );
        for (const [index, part] of parts.slice(1).entries()) {
          expect((parts[index]?.tokens ?? 0) + part.tokens).toBeGreaterThan(300 / 2);
        }
      }),
    );
  });
});
