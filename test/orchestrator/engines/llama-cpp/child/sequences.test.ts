import { describe, expect, it } from "vitest";
import { chooseSequence } from "../../../../../src/orchestrator/engines/llama-cpp/child/sequences.ts";

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
