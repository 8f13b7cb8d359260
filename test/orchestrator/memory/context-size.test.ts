import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalContext } from "../../../src/orchestrator/memory/reading.ts";

describe("canonicalContext", () => {
  it.each([
    { ask: { atLeastTokens: undefined }, expected: 4096 },
    { ask: { atLeastTokens: 4097 }, expected: 8192 },
    { ask: { atLeastTokens: 8192 }, expected: 8192 },
    { ask: { atLeastTokens: 10, windowTokens: 2048 }, expected: 256 },
    { ask: { atLeastTokens: undefined, windowTokens: 2048 }, expected: 2048 },
  ])("$ask → $expected", ({ ask, expected }) => {
    expect(canonicalContext(ask)).toBe(expected);
  });

  it("is at least the requested size unless the window is smaller, and less than twice of it", () => {
    const tokens = fc.integer({ min: 256, max: 2_000_000 });
    fc.assert(
      fc.property(tokens, tokens, (atLeastTokens, windowTokens) => {
        const context = canonicalContext({ atLeastTokens, windowTokens });
        expect(context).toBeGreaterThanOrEqual(Math.min(atLeastTokens, windowTokens));
        expect(context).toBeLessThanOrEqual(windowTokens);
        expect(context).toBeLessThan(2 * atLeastTokens);
      }),
    );
  });
});
