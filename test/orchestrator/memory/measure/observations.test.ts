import { describe, expect, it } from "vitest";
import { createObservations, isCooling } from "../../../../src/orchestrator/memory/measure/observations.ts";

describe("observations", () => {
  it("smooths speeds and load times", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 100, 1000);
    observations.generated("a", 200, 1000);
    observations.loaded("a", 1000);
    observations.loaded("a", 2000);
    expect(observations.of("a").tokensPerSecond).toBeCloseTo(130);
    expect(observations.of("a").loadSeconds).toBeCloseTo(1.3);
  });

  it("have no speed after a single token", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 1, 1000);
    expect(observations.of("a").tokensPerSecond).toBeUndefined();
  });

  it("cool down one model after a failure, not its neighbour, until a success", () => {
    const observations = createObservations(() => 1000);
    observations.failed("ollama a", "out of memory", true);
    expect(observations.of("ollama a")).toEqual({ coolsUntilMs: 31_000, error: "out of memory" });
    expect(observations.of("ollama b")).toEqual({});
    observations.loaded("ollama a", 500);
    expect(observations.of("ollama a")).toEqual({ loadSeconds: 0.5, lastUsedMs: 1000 });
  });

  it("cool down a model for 30 seconds, and no longer if the clock is set back", () => {
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

  it("don't attribute a failure of the engine to the model", () => {
    const observations = createObservations(() => 0);
    observations.failed("a", "cut", false);
    expect(observations.of("a").error).toBeUndefined();
  });
});

describe("the answer time", () => {
  it("rises at once and falls slowly", () => {
    const observations = createObservations(() => 0);
    expect(observations.of("ollama a").answerMs).toBeUndefined();
    observations.answered("ollama a", 2_000);
    observations.answered("ollama a", 10_000);
    expect(observations.of("ollama a").answerMs).toBe(10_000);
    observations.answered("ollama a", 1_000);
    expect(observations.of("ollama a").answerMs).toBe(9_100);
  });
});
