import { describe, expect, it } from "vitest";
import { chooseCopy } from "../../../src/orchestrator/generation/copies.ts";

type Copy = Parameters<typeof chooseCopy>[0][number];

const copy = (assigned: number, more: Partial<Copy> = {}): Copy => ({
  assigned,
  parallel: 4,
  isLoaded: true,
  loadMs: 5_000,
  ...more,
});
const unloaded = { isLoaded: false };

/** How many of `count` simultaneous requests go to each copy. */
function spread(count: number, copies: readonly Copy[], answerMs: number): readonly number[] {
  const counts = copies.map(() => 0);
  const isOpen = copies.map(({ isLoaded }) => isLoaded);
  for (let request = 0; request < count; request += 1) {
    const now = copies.map((each, index) => ({
      ...each,
      assigned: counts[index] ?? 0,
      isLoaded: isOpen[index] ?? false,
    }));
    const index = chooseCopy(now, answerMs);
    counts[index] = (counts[index] ?? 0) + 1;
    isOpen[index] = true;
  }
  return counts;
}

describe("the copy for a request whose model several hosts hold", () => {
  it.each([
    ["no requests: the first", [copy(0), copy(0)], 0],
    ["one active answer: the other one, if it is loaded", [copy(1), copy(0)], 1],
    ["one active answer: no load for it", [copy(1), copy(0, unloaded)], 0],
    ["a wait shorter than a load: no load", [copy(4), copy(0, unloaded)], 0],
    ["a long wait: a second copy is loaded", [copy(12), copy(0, unloaded)], 1],
    ["loaded nowhere: the default", [copy(0, unloaded), copy(0, unloaded)], 0],
    ["the other one is busier", [copy(4), copy(9)], 0],
  ])("%s", (_, copies, expected) => {
    expect(chooseCopy(copies, 4_000)).toBe(expected);
  });

  it("sixteen simultaneous requests are split evenly between two hosts, even if the second has to load first", () => {
    expect(spread(16, [copy(0), copy(0, { ...unloaded, loadMs: 1_000 })], 10_000)).toEqual([8, 8]);
    expect(spread(16, [copy(0), copy(0)], 10_000)).toEqual([8, 8]);
  });
});
