import type { SlotView } from "../../../src/orchestrator/memory/state.ts";
import { describe, expect, it } from "vitest";
import { planMaintenance, touchIntervalMs } from "../../../src/orchestrator/residency/maintenance-plan.ts";

const minute = 60_000;
const now = 1_800_000_000_000;
const clock = { nowMs: now, awakeSinceMs: now - 600 * minute, touchEveryMs: 5 * minute };
const idle: SlotView = {
  name: "a:1b",
  expiresAtMs: undefined,
  isPinned: false,
  isBusy: false,
  isForeign: false,
  engine: "ollama",
  sizeBytes: 1,
  mappedBytes: 0,
  lastUsedMs: 0,
  sentSeconds: 900,
  lastActivityMs: now - 20 * minute,
};

describe("models to unload", () => {
  const expired = (...models: Partial<SlotView>[]) =>
    planMaintenance(
      models.map((model) => ({ ...idle, ...model })),
      clock,
    ).expire;

  it("are models of ours that their engine holds beyond their keep-alive", () => {
    expect(expired({})).toEqual(["a:1b"]);
    expect(expired({ lastActivityMs: now - 15 * minute })).toEqual([]);
  });

  it("exclude models that are busy, pinned, used by other programs, or without a finite keep-alive", () => {
    expect(
      expired(
        { isBusy: true },
        { isPinned: true },
        { isForeign: true },
        { sentSeconds: -1 },
        { sentSeconds: undefined },
      ),
    ).toEqual([]);
  });

  it("exclude models that were idle only while the machine slept", () => {
    expect(planMaintenance([idle], { ...clock, awakeSinceMs: now - minute }).expire).toEqual([]);
    expect(planMaintenance([idle], { ...clock, awakeSinceMs: now - 16 * minute }).expire).toEqual(["a:1b"]);
  });
});

describe("models to touch", () => {
  const touched = (model: Partial<SlotView>) => planMaintenance([{ ...idle, isPinned: true, ...model }], clock).touch;

  it("are pinned models, every few minutes", () => {
    expect(touched({})).toEqual([{ name: "a:1b", isLosing: false }]);
    expect(touched({ lastActivityMs: now - 4 * minute })).toEqual([]);
  });

  it("include at once a pinned model that its engine would unload", () => {
    expect(touched({ lastActivityMs: now, expiresAtMs: now + 5 * minute })).toEqual([{ name: "a:1b", isLosing: true }]);
    expect(touched({ lastActivityMs: now, expiresAtMs: now + 292 * 365 * 1_440 * minute })).toEqual([]);
  });

  it("exclude models that are answering or not pinned", () => {
    expect(touched({ isBusy: true })).toEqual([]);
    expect(touched({ isPinned: false })).toEqual([]);
  });
});

describe("the time between two touches", () => {
  it("is a third of the keep-alive, between 30 seconds and 5 minutes", () => {
    expect([900, 300, 60, 0, -1].map((seconds) => touchIntervalMs(seconds) / 1_000)).toEqual([300, 100, 30, 30, 300]);
  });
});
