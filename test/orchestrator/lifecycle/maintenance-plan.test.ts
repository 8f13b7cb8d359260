import { describe, expect, it } from "vitest";
import {
  planMaintenance,
  type MaintainedModel,
  touchIntervalMs,
} from "../../../src/orchestrator/lifecycle/maintenance-plan.ts";

const minute = 60_000;
const now = 1_800_000_000_000;
const clock = { nowMs: now, awakeSinceMs: now - 600 * minute, touchEveryMs: 5 * minute };
const idle: MaintainedModel = {
  name: "a:1b",
  expiresAtMs: undefined,
  isPinned: false,
  isBusy: false,
  isOurs: true,
  toldSeconds: 900,
  lastActivityMs: now - 20 * minute,
};

describe("what is unloaded because its time is over", () => {
  const expired = (...models: Partial<MaintainedModel>[]) =>
    planMaintenance(
      models.map((model) => ({ ...idle, ...model })),
      clock,
    ).expire;

  it("is a model of ours that its engine keeps beyond what it was told", () => {
    expect(expired({})).toEqual(["a:1b"]);
    expect(expired({ lastActivityMs: now - 15 * minute })).toEqual([]);
  });

  it("is none that is busy, pinned, used by others, or told to stay or nothing", () => {
    expect(
      expired({ isBusy: true }, { isPinned: true }, { isOurs: false }, { toldSeconds: -1 }, { toldSeconds: undefined }),
    ).toEqual([]);
  });

  it("is none that only grew old while the machine slept", () => {
    expect(planMaintenance([idle], { ...clock, awakeSinceMs: now - minute }).expire).toEqual([]);
    expect(planMaintenance([idle], { ...clock, awakeSinceMs: now - 16 * minute }).expire).toEqual(["a:1b"]);
  });
});

describe("what is touched", () => {
  const touched = (model: Partial<MaintainedModel>) =>
    planMaintenance([{ ...idle, isPinned: true, ...model }], clock).touch;

  it("is a pinned model, every few minutes", () => {
    expect(touched({})).toEqual([{ name: "a:1b", isLosing: false }]);
    expect(touched({ lastActivityMs: now - 4 * minute })).toEqual([]);
  });

  it("is one at once that its engine would unload", () => {
    expect(touched({ lastActivityMs: now, expiresAtMs: now + 5 * minute })).toEqual([{ name: "a:1b", isLosing: true }]);
    expect(touched({ lastActivityMs: now, expiresAtMs: now + 292 * 365 * 1_440 * minute })).toEqual([]);
  });

  it("is none that answers, or isn't pinned", () => {
    expect(touched({ isBusy: true })).toEqual([]);
    expect(touched({ isPinned: false })).toEqual([]);
  });
});

describe("the time between two touches", () => {
  it("is a third of the time that models stay, between half a minute and five", () => {
    expect([900, 300, 60, 0, -1].map((seconds) => touchIntervalMs(seconds) / 1_000)).toEqual([300, 100, 30, 30, 300]);
  });
});
