import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { endOf } from "../../src/tools/render.ts";

describe("the end of a text", () => {
  it.each([
    ["a short text", 20, "a short text"],
    ["one two three", 9, "two three"],
    ["one two three", 8, "three"],
    ["one two three", 10, "two three"],
    ["one\n\n  two", 5, "two"],
    // No blank to begin behind: never half a character.
    ["日本語の文章です", 7, "本語の文章です"],
    ["🙂🙂🙂", 3, "🙂"],
  ])("%j in %i characters is %j", (text, characters, expected) => {
    expect(endOf(text, characters)).toBe(expected);
  });

  it("begins at a word, ends as the text does, and is never longer than asked", () => {
    const word = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom("a", "é", "z", "-", "9") });
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 13, max: 100 }),
        (words, characters) => {
          const text = words.join(" ");
          const end = endOf(text, characters);
          expect(end.length).toBeLessThanOrEqual(characters);
          expect(` ${text}`.endsWith(` ${end}`)).toBe(true);
        },
      ),
    );
  });
});
