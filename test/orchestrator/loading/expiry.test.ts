import { describe, expect, it } from "vitest";
import { isForever, judge } from "../../../src/orchestrator/loading/expiry.ts";

const minute = 60_000;
const start = 1_800_000_000_000;
const own = { toldSeconds: 900, activityMs: start, hasSameClock: true };
const first = { expiresAtMs: start + 15 * minute, atMs: start + 1_000, activityMs: start };

describe("the end of a stay", () => {
  it("that stands still is ours", () => {
    const seen = { expiresAtMs: first.expiresAtMs + 20, atMs: start + 5 * minute };
    expect(judge(own, first, seen)).toBe("ours");
  });

  it("that moved without us was moved by somebody who left our keep-alive as it was", () => {
    const seen = { expiresAtMs: start + 17 * minute, atMs: start + 2 * minute + 5_000 };
    expect(judge(own, first, seen)).toBe("touched");
  });

  it("that moved by another keep-alive, shorter or longer, is somebody else's now", () => {
    const atMs = start + 2 * minute;
    expect(judge(own, first, { expiresAtMs: atMs + 5 * minute, atMs })).toBe("taken");
    expect(judge(own, first, { expiresAtMs: atMs + 60 * minute, atMs })).toBe("taken");
    expect(judge(own, first, { expiresAtMs: atMs + 300 * 365 * 1_440 * minute, atMs })).toBe("taken");
  });

  it("is what we told after a use of ours, give or take the engine's own end of the request", () => {
    for (const offMs of [-30_000, 0, 20_000]) {
      const seen = { expiresAtMs: start + 15 * minute + offMs, atMs: start + minute };
      expect(judge(own, undefined, seen)).toBe("ours");
    }
  });

  it("after a use of ours is seen to be moved or taken by somebody after us", () => {
    const atMs = start + 10 * minute;
    expect(judge(own, undefined, { expiresAtMs: start + 20 * minute, atMs })).toBe("touched");
    expect(judge(own, undefined, { expiresAtMs: start + 5 * minute, atMs: start + 30_000 })).toBe("taken");
  });

  it("of a pinned model is centuries ahead, and moves with the touches of others", () => {
    const pinned = { ...own, toldSeconds: -1 };
    const forever = start + 292 * 365 * 1_440 * minute;
    const before = { expiresAtMs: forever, atMs: start + 1_000, activityMs: start };
    expect(isForever(forever, start)).toBe(true);
    expect(judge(pinned, before, { expiresAtMs: forever, atMs: start + minute })).toBe("ours");
    expect(judge(pinned, before, { expiresAtMs: forever + minute, atMs: start + 2 * minute })).toBe("touched");
    expect(judge(pinned, before, { expiresAtMs: start + 6 * minute, atMs: start + 2 * minute })).toBe("taken");
    expect(judge(pinned, undefined, { expiresAtMs: start + 6 * minute, atMs: start + 2 * minute })).toBe("taken");
  });

  it("on another machine is compared with itself alone: its clock is its own", () => {
    const remote = { ...own, hasSameClock: false };
    const seen = { expiresAtMs: start + 75 * minute, atMs: start + minute };
    expect(judge(remote, undefined, seen)).toBe("ours");
    const before = { ...seen, activityMs: start };
    expect(judge(remote, before, { expiresAtMs: seen.expiresAtMs + minute, atMs: seen.atMs + minute })).not.toBe(
      "ours",
    );
  });
});
