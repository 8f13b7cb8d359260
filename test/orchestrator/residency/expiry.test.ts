import { describe, expect, it } from "vitest";
import { isForever, judgeExpiry } from "../../../src/orchestrator/residency/maintenance-plan.ts";

const minute = 60_000;
const start = 1_800_000_000_000;
const own = { sentSeconds: 900, activityMs: start, hasSameClock: true };
const first = { expiresAtMs: start + 15 * minute, atMs: start + 1_000, activityMs: start };

describe("judgeExpiry", () => {
  it("an unchanged expiry is ours", () => {
    const seen = { expiresAtMs: first.expiresAtMs + 20, atMs: start + 5 * minute };
    expect(judgeExpiry(own, first, seen)).toBe("ours");
  });

  it("an expiry that moved by our keep-alive without us was touched by another program", () => {
    const seen = { expiresAtMs: start + 17 * minute, atMs: start + 2 * minute + 5_000 };
    expect(judgeExpiry(own, first, seen)).toBe("touched");
  });

  it("an expiry that moved by another keep-alive, shorter or longer, was taken by another program", () => {
    const atMs = start + 2 * minute;
    expect(judgeExpiry(own, first, { expiresAtMs: atMs + 5 * minute, atMs })).toBe("taken");
    expect(judgeExpiry(own, first, { expiresAtMs: atMs + 60 * minute, atMs })).toBe("taken");
    expect(judgeExpiry(own, first, { expiresAtMs: atMs + 300 * 365 * 1_440 * minute, atMs })).toBe("taken");
  });

  it("after a use of ours, an expiry close to the keep-alive that was sent is ours", () => {
    for (const offMs of [-30_000, 0, 20_000]) {
      const seen = { expiresAtMs: start + 15 * minute + offMs, atMs: start + minute };
      expect(judgeExpiry(own, undefined, seen)).toBe("ours");
    }
  });

  it("after a use of ours, a later use by another program is detected", () => {
    const atMs = start + 10 * minute;
    expect(judgeExpiry(own, undefined, { expiresAtMs: start + 20 * minute, atMs })).toBe("touched");
    expect(judgeExpiry(own, undefined, { expiresAtMs: start + 5 * minute, atMs: start + 30_000 })).toBe("taken");
  });

  it("the expiry of a pinned model is centuries ahead and moves with the requests of other programs", () => {
    const pinned = { ...own, sentSeconds: -1 };
    const forever = start + 292 * 365 * 1_440 * minute;
    const before = { expiresAtMs: forever, atMs: start + 1_000, activityMs: start };
    expect(isForever(forever, start)).toBe(true);
    expect(judgeExpiry(pinned, before, { expiresAtMs: forever, atMs: start + minute })).toBe("ours");
    expect(judgeExpiry(pinned, before, { expiresAtMs: forever + minute, atMs: start + 2 * minute })).toBe("touched");
    expect(judgeExpiry(pinned, before, { expiresAtMs: start + 6 * minute, atMs: start + 2 * minute })).toBe("taken");
    expect(judgeExpiry(pinned, undefined, { expiresAtMs: start + 6 * minute, atMs: start + 2 * minute })).toBe("taken");
  });

  it("expiries of another machine are compared only with each other, since its clock may differ", () => {
    const remote = { ...own, hasSameClock: false };
    const seen = { expiresAtMs: start + 75 * minute, atMs: start + minute };
    expect(judgeExpiry(remote, undefined, seen)).toBe("ours");
    const before = { ...seen, activityMs: start };
    expect(judgeExpiry(remote, before, { expiresAtMs: seen.expiresAtMs + minute, atMs: seen.atMs + minute })).not.toBe(
      "ours",
    );
  });
});
