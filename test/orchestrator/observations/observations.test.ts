import { describe, expect, it } from "vitest";
import { createObservations, isCooling } from "../../../src/orchestrator/observations/observations.ts";

describe("observations", () => {
  it("smooths speeds and load times instead of believing the last one", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 100, 1000);
    observations.generated("a", 200, 1000);
    observations.loaded("a", 1000);
    observations.loaded("a", 2000);
    expect(observations.of("a").tokensPerSecond).toBeCloseTo(130);
    expect(observations.of("a").loadSeconds).toBeCloseTo(1.3);
  });

  it("one token says nothing about speed", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 1, 1000);
    expect(observations.of("a").tokensPerSecond).toBeUndefined();
  });

  it("a failure cools one model and not its neighbour; success ends it", () => {
    const observations = createObservations(() => 1000);
    observations.failed("ollama a", "out of memory", true);
    expect(observations.of("ollama a")).toEqual({ coolsUntilMs: 31_000, error: "out of memory" });
    expect(observations.of("ollama b")).toEqual({});
    observations.loaded("ollama a", 500);
    expect(observations.of("ollama a")).toEqual({ loadSeconds: 0.5, lastUsedMs: 1000 });
  });

  it("a model that failed rests for half a minute, and no longer when the clock is set back meanwhile", () => {
    const observations = createObservations(() => 1_000_000);
    observations.failed("ollama a", "out of memory", true);
    const failed = observations.of("ollama a");
    expect([1_000_000, 1_029_999, 1_030_000, 999_999, 0].map((nowMs) => isCooling(failed, nowMs))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
    expect(isCooling(observations.of("ollama b"), 0)).toBe(false);
  });

  it("an engine's failure is no fault of the model", () => {
    const observations = createObservations(() => 0);
    observations.failed("a", "cut", false);
    expect(observations.of("a").error).toBeUndefined();
  });
});

describe("how long an answer takes", () => {
  it("is a long one: it rises at once and falls slowly", () => {
    const observations = createObservations(() => 0);
    expect(observations.of("ollama a").answerMs).toBeUndefined();
    observations.answered("ollama a", 2_000);
    observations.answered("ollama a", 10_000);
    expect(observations.of("ollama a").answerMs).toBe(10_000);
    observations.answered("ollama a", 1_000);
    expect(observations.of("ollama a").answerMs).toBe(9_100);
  });
});
