import { describe, expect, it } from "vitest";
import {
  chooseSequence,
  createEvictedPrompts,
} from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

describe("the sequence of a prompt", () => {
  it.each([
    [
      "a follow-up uses the sequence with its prefix",
      [
        [1_500, 1_540, 5],
        [0, 0, 0],
      ],
      0,
    ],
    [
      "a new conversation uses an empty sequence instead of one that shares the words of the template",
      [
        [24, 1_540, 1],
        [0, 0, 0],
      ],
      1,
    ],
    [
      "the same prompt uses the sequence that has it",
      [
        [0, 0, 0],
        [30, 60, 1],
      ],
      1,
    ],
    [
      "a long shared prefix outweighs the rest of a short conversation",
      [
        [400, 500, 9],
        [0, 0, 0],
      ],
      0,
    ],
    [
      "without a shared prefix the shorter conversation is overwritten",
      [
        [3, 1_500, 7],
        [3, 200, 8],
      ],
      1,
    ],
    [
      "among equals the least recently used is overwritten",
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

  it("counts the overwritten tokens when it continues", () => {
    const displaced = createEvictedPrompts();
    displaced.note([1, 2, 3, ...file, 7], 3);
    expect(displaced.missedTokens([1, 2, 3, ...file, 8, 9], 3)).toBe(300);
  });
  it("counts no tokens a second time, because they are cached again", () => {
    const displaced = createEvictedPrompts();
    displaced.note(file, 0);
    displaced.missedTokens(file, 0);
    expect(displaced.missedTokens(file, 0)).toBe(0);
  });
  it("counts no tokens while it is cached, nor for other conversations", () => {
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
