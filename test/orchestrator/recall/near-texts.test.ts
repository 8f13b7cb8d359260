import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createNearTexts } from "../../../src/orchestrator/recall/near-texts.ts";

const letters = fc.string({ unit: fc.constantFrom("a", "b", "c", "d", "é", " "), minLength: 4, maxLength: 20 });

/** Inserts, deletes or replaces one letter. */
function edited(text: string, at: number, how: number): string {
  const place = at % (text.length + 1);
  return `${text.slice(0, place)}${how === 0 ? "" : "x"}${text.slice(how === 1 ? place : place + 1)}`;
}

describe("near texts", () => {
  it("are found within any two edits", () => {
    fc.assert(
      fc.property(
        letters,
        fc.array(letters, { maxLength: 20 }),
        fc.tuple(fc.nat(30), fc.nat(2)),
        fc.tuple(fc.nat(30), fc.nat(2)),
        (text, others, [at, how], [thenAt, thenHow]) => {
          const texts = createNearTexts();
          for (const each of [...others, text]) texts.add(each);
          const asked = edited(edited(text, at, how), thenAt, thenHow);
          fc.pre(asked !== text && asked.length >= 4);
          expect(texts.near(asked, 2)).toContain(text);
        },
      ),
    );
  });

  it("don't include removed texts and the text itself", () => {
    const texts = createNearTexts();
    for (const each of ["preferred editor", "prefered editor"]) texts.add(each);
    expect(texts.near("preferred editor", 1)).toEqual(["prefered editor"]);
    texts.remove("prefered editor");
    expect(texts.near("preferred editor", 2)).toEqual([]);
  });

  it("come nearest first, and only within the given edits", () => {
    const texts = createNearTexts();
    for (const each of ["editxx", "editors", "edit", "tabs"]) texts.add(each);
    expect(texts.near("editor", 2)).toEqual(["editors", "edit", "editxx"]);
    expect(texts.near("editor", 1)).toEqual(["editors"]);
  });
});
