import { describe, expect, it } from "vitest";
import { type Business, handoverStep, hasSlept, isIdle } from "../../../src/server/daemon/watch.ts";

const handoverDrainMs = 60_000;

const handoverPatienceMs = 10 * 60_000;

const nothing: Business = { clients: 0, listeners: 0, requests: 0, operations: 0, pulls: 0, pinned: 0 };

describe("isIdle", () => {
  it("is true without clients and without work", () => {
    expect(isIdle(nothing)).toBe(true);
  });

  it.each(["clients", "listeners", "operations", "pinned"] as const)("is false with %s", (what) => {
    expect(isIdle({ ...nothing, [what]: 1 })).toBe(false);
  });
});

describe("handoverStep", () => {
  const late = handoverPatienceMs + handoverDrainMs;

  it.each([
    { what: "clients without requests", business: { clients: 3 }, elapsedMs: 0, step: "go" },
    { what: "pulls alone", business: { operations: 2, pulls: 2 }, elapsedMs: 0, step: "go" },
    { what: "a request", business: { requests: 1 }, elapsedMs: 0, step: "work" },
    {
      what: "a generation that is a job",
      business: { operations: 1 },
      elapsedMs: handoverPatienceMs - 1,
      step: "work",
    },
    { what: "a request after ten minutes", business: { requests: 1 }, elapsedMs: handoverPatienceMs, step: "drain" },
    { what: "a request a minute later", business: { requests: 1 }, elapsedMs: late, step: "go" },
  ] as const)("$step with $what", ({ business, elapsedMs, step }) => {
    expect(handoverStep({ ...nothing, ...business }, elapsedMs)).toBe(step);
  });
});

it("a timer that is much too late by the clock on the wall means sleep, a busy machine doesn't", () => {
  expect(hasSlept(5_000, 12_000)).toBe(false);
  expect(hasSlept(5_000, 40_000)).toBe(true);
});
