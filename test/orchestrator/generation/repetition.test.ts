import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Repetition,
  watchRepetition,
  withoutRepetition,
} from "../../../src/orchestrator/generation/repetition.ts";
import { type LabelledText, loops, ordinary } from "./repetition-texts.ts";

interface Found {
  readonly repetition: Repetition;
  /** Characters read before detection. */
  readonly at: number;
}

/** Feeds the text in pieces of those lengths, cyclically. */
function firstFound(text: string, lengths: readonly number[] = [4]): Found | undefined {
  const watch = watchRepetition();
  let at = 0;
  for (let index = 0; at < text.length; index += 1) {
    const piece = text.slice(at, at + (lengths[index % lengths.length] ?? 1));
    at += piece.length;
    const repetition = watch.add(piece);
    if (repetition !== undefined) return { repetition, at };
  }
  return undefined;
}

const named = (texts: readonly LabelledText[]) => texts.map((text) => [text.name, text] as const);

it("the labelled set has at least 40 ordinary texts and 25 loops", () => {
  expect(ordinary.length).toBeGreaterThanOrEqual(40);
  expect(loops.length).toBeGreaterThanOrEqual(25);
});

describe("repetition is not detected in an ordinary text", () => {
  it.each(named(ordinary))("%s", (_name, { text }) => {
    expect(firstFound(text)).toBeUndefined();
  });
});

describe("a loop is detected, and the text is cut before it", () => {
  it.each(named(loops))("%s", (_name, { text, kept }) => {
    const found = firstFound(text);
    expect(found).toBeDefined();
    if (found === undefined) return;
    // Bound: the limit of its kind, the text before the loop, and one step.
    expect(found.at).toBeLessThan(4_600);
    const cut = withoutRepetition(text.slice(0, found.at), found.repetition);
    expect(text.startsWith(cut.text)).toBe(true);
    expect(cut.text.length).toBeLessThan(found.at / 2);
    expect(cut.copies).toBeGreaterThanOrEqual(3);
    if (kept !== undefined) expect(cut.text).toBe(kept);
    // The rest is not a loop.
    expect(firstFound(cut.text)).toBeUndefined();
  });
});

it("the result does not depend on how the text is split into pieces", () => {
  const texts = [...loops, ...ordinary.slice(0, 10)];
  fc.assert(
    fc.property(
      fc.nat(texts.length - 1),
      fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 8 }),
      (index, lengths) => {
        const text = texts[index]?.text ?? "";
        const [plain, other] = [firstFound(text, [1]), firstFound(text, lengths)];
        expect(other?.repetition).toEqual(plain?.repetition);
      },
    ),
    { numRuns: 60 },
  );
});

it("random words are not a loop, and any repeated block of prose is", () => {
  const word = fc.stringMatching(/^[a-z]{3,9}$/);
  fc.assert(
    fc.property(fc.uniqueArray(word, { minLength: 8, maxLength: 60 }), (words) => {
      const block = `${words.join(" ")}. `;
      expect(firstFound(block)).toBeUndefined();
      expect(firstFound(block.repeat(Math.ceil(4_000 / block.length)))).toBeDefined();
    }),
    { numRuns: 50 },
  );
});

it("the cost per character does not depend on the length of the text", () => {
  const text = ordinary.map((each) => each.text).join("\n\n");
  const perCharacter = (characters: number): number => {
    const watch = watchRepetition();
    const before = process.cpuUsage();
    for (let at = 0; at < characters; at += 4) watch.add(text.slice(at % text.length, (at % text.length) + 4));
    const { user, system } = process.cpuUsage(before);
    return (user + system) / characters;
  };
  perCharacter(text.length);
  const [short, long] = [perCharacter(100_000), perCharacter(800_000)];
  process.stderr.write(`watching for repetition: ${(long * 4).toFixed(2)} µs per token of 4 characters\n`);
  // A cost that grows with the text would be eight times as high. CPU time, so that other programs don't count.
  expect(long).toBeLessThan(short * 4);
});
