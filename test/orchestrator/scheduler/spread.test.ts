import { describe, expect, it } from "vitest";
import { chooseCopy, type Copy } from "../../../src/orchestrator/scheduler/spread.ts";

const copy = (assigned: number, more: Partial<Copy> = {}): Copy => ({
  assigned,
  parallel: 4,
  isLoaded: true,
  loadMs: 5_000,
  ...more,
});
const unloaded = { isLoaded: false };

/** Where 16 requests go that come at once. */
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

describe("where a request goes whose model several hosts hold", () => {
  it.each([
    ["nobody waits: to the first", [copy(0), copy(0)], 0],
    ["one is answered: to the other, if it is loaded", [copy(1), copy(0)], 1],
    ["one is answered: nothing is loaded for that", [copy(1), copy(0, unloaded)], 0],
    ["somebody waits, but no longer than a load takes: nothing is loaded", [copy(4), copy(0, unloaded)], 0],
    ["many wait: a second copy is loaded", [copy(12), copy(0, unloaded)], 1],
    ["it is loaded nowhere: where it goes anyway", [copy(0, unloaded), copy(0, unloaded)], 0],
    ["the other is busier", [copy(4), copy(9)], 0],
  ])("%s", (_, copies, expected) => {
    expect(chooseCopy(copies, 4_000)).toBe(expected);
  });

  it("sixteen at once are halved between two hosts, though the second must load first", () => {
    expect(spread(16, [copy(0), copy(0, { ...unloaded, loadMs: 1_000 })], 10_000)).toEqual([8, 8]);
    expect(spread(16, [copy(0), copy(0)], 10_000)).toEqual([8, 8]);
  });
});
