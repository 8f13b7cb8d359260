import { describe, expect, it } from "vitest";
import {
  chooseSequence,
  createEvictedPrompts,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

describe("the sequence of a prompt", () => {
  it.each([
    [
      "a follow-up goes where its beginning is cached",
      [
        [1_500, 1_540, 5],
        [0, 0, 0],
      ],
      0,
    ],
    [
      "a new conversation takes an empty sequence, not one that shares the template's words",
      [
        [24, 1_540, 1],
        [0, 0, 0],
      ],
      1,
    ],
    [
      "the same prompt again goes where it is cached",
      [
        [0, 0, 0],
        [30, 60, 1],
      ],
      1,
    ],
    [
      "a long shared beginning is worth the rest of a short conversation",
      [
        [400, 500, 9],
        [0, 0, 0],
      ],
      0,
    ],
    [
      "with nothing in common the shorter conversation goes",
      [
        [3, 1_500, 7],
        [3, 200, 8],
      ],
      1,
    ],
    [
      "between equals the least recently used goes",
      [
        [3, 200, 8],
        [3, 200, 7],
      ],
      1,
    ],
    ["one sequence is enough", [[0, 0, 0]], 0],
  ] as const)("%s", (_, states, expected) => {
    const known = states.map(([commonTokens, heldTokens, lastUse]) => ({ commonTokens, heldTokens, lastUse }));
    expect(chooseSequence(known)).toBe(expected);
  });
});

describe("a conversation whose cache was overwritten", () => {
  const tokens = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);
  const file = tokens(1_000, 300);

  it("misses, when it is back, what it held beyond what is cached now", () => {
    const displaced = createEvictedPrompts();
    displaced.note([1, 2, 3, ...file, 7], 3);
    expect(displaced.missedTokens([1, 2, 3, ...file, 8, 9], 3)).toBe(300);
  });
  it("misses nothing a second time: it is cached again", () => {
    const displaced = createEvictedPrompts();
    displaced.note(file, 0);
    displaced.missedTokens(file, 0);
    expect(displaced.missedTokens(file, 0)).toBe(0);
  });
  it("misses nothing while it continues, and others have nothing to miss", () => {
    const displaced = createEvictedPrompts();
    displaced.note(file, file.length);
    expect(displaced.missedTokens(file, file.length)).toBe(0);
    displaced.note(file, 0);
    expect(displaced.missedTokens(tokens(9_000, 300), 0)).toBe(0);
  });
  it("is forgotten after four others", () => {
    const displaced = createEvictedPrompts();
    displaced.note(file, 0);
    for (let other = 1; other <= 4; other += 1) displaced.note(tokens(other * 10_000, 300), 0);
    expect(displaced.missedTokens(file, 0)).toBe(0);
  });
});
