import { describe, expect, it } from "vitest";
import { Cancelled, EngineUnreachable, GenerationFailed, LoadFailed } from "../../../src/orchestrator/api/errors.ts";
import {
  type Breaker,
  type Observations,
  createObservations,
} from "../../../src/orchestrator/residency/observations.ts";
import { createGate } from "../../support/fake-engine.ts";

const coolDown = (observations: Observations, key: string) => observations.of(key).breaker?.coolDown;

describe("observations", () => {
  it("smooths speeds and load times", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 100, 1000);
    observations.generated("a", 200, 1000);
    observations.loaded("a", 1000);
    observations.loaded("a", 2000);
    expect(observations.of("a").tokensPerSecond).toBeCloseTo(130);
    expect(observations.of("a").timedTokens).toBe(300);
    expect(observations.of("a").loadSeconds).toBeCloseTo(1.3);
  });

  it("have no speed after a few tokens, which measure chance, and keep one that they have", () => {
    const observations = createObservations(() => 0);
    for (const [tokens, ms] of [
      [1, 1000],
      [8, 105],
      [8, 1000],
      [31, 1000],
    ] as const) {
      observations.generated("a", tokens, ms);
      expect(observations.of("a").tokensPerSecond).toBeUndefined();
    }
    observations.generated("a", 32, 1000);
    expect(observations.of("a").tokensPerSecond).toBe(32);
    observations.generated("a", 8, 105);
    expect(observations.of("a")).toMatchObject({ tokensPerSecond: 32, timedTokens: 32 });
  });

  it("cool down one model after a failure, not its neighbour, until a success", async () => {
    const observations = createObservations(() => 1000);
    await observations.failed("ollama a", new LoadFailed("out of memory"));
    expect(observations.of("ollama a").error).toBe("out of memory");
    expect(coolDown(observations, "ollama a")).toEqual({ because: "out of memory; tried again in 30 s" });
    expect(observations.of("ollama b")).toEqual({});
    observations.loaded("ollama a", 500);
    expect(observations.of("ollama a")).toEqual({ loadSeconds: 0.5, lastUsedMs: 1000, successRate: 0.7, outcomes: 1 });
  });

  it("cool down a model for 30 seconds, and no longer if the clock is set back", async () => {
    let nowMs = 1_000_000;
    const observations = createObservations(() => nowMs);
    await observations.failed("ollama a", new LoadFailed("out of memory"));
    const isCooling = [1_000_000, 1_029_999, 1_030_000, 999_999, 0].map((atMs) => {
      nowMs = atMs;
      return coolDown(observations, "ollama a") !== undefined;
    });
    expect(isCooling).toEqual([true, true, false, false, false]);
  });

  it("don't attribute a failure of the engine to the model", async () => {
    const observations = createObservations(() => 0);
    await observations.failed("a", new GenerationFailed("cut"));
    expect(observations.of("a").error).toBeUndefined();
  });
});

describe("the breaker of a model that failed", () => {
  async function opened(retryAfterMs?: number) {
    const clock = { nowMs: 0 };
    const observations = createObservations(() => clock.nowMs);
    await observations.failed("a", new EngineUnreachable("refused", { retryAfterMs }));
    const breaker = observations.of("a").breaker as Breaker;
    return { clock, breaker, observations };
  }

  it("lets one request try again after 30 s, and closes with its success", async () => {
    const { clock, breaker, observations } = await opened();
    clock.nowMs = 30_000;
    expect(breaker.coolDown).toBeUndefined();
    const gate = createGate();
    const trial = breaker.run(() => gate.pass());
    expect(breaker.coolDown).toEqual({ because: "refused; another request is trying it again" });
    // Asked all the same where nothing else can answer: it doesn't wait for the trial.
    expect(await breaker.run(() => Promise.resolve("answer"))).toBe("answer");
    gate.open();
    await trial;
    expect(breaker.coolDown).toBeUndefined();
    observations.generated("a", 2, 1);
    expect(observations.of("a").breaker).toBeUndefined();
  });

  it("stays open for another 30 s when the trial fails", async () => {
    const { clock, breaker, observations } = await opened();
    clock.nowMs = 31_000;
    const error = new GenerationFailed("still down");
    await expect(breaker.run(() => Promise.reject(error))).rejects.toBe(error);
    await observations.failed("a", error);
    expect(breaker.coolDown).toEqual({ because: "still down; tried again in 30 s" });
    clock.nowMs = 60_999;
    expect(breaker.coolDown).toEqual({ because: "still down; tried again in 1 s" });
    clock.nowMs = 61_000;
    expect(breaker.coolDown).toBeUndefined();
  });

  it("lets the next request try when the trial was cancelled", async () => {
    const { clock, breaker } = await opened();
    clock.nowMs = 30_000;
    await expect(breaker.run(() => Promise.reject(new Cancelled("gone")))).rejects.toThrow("gone");
    const gate = createGate();
    const trial = breaker.run(() => gate.pass());
    expect(breaker.coolDown).toBeDefined();
    gate.open();
    await trial;
  });

  it("waits for as long as the server asked, a day at most", async () => {
    const { clock, breaker, observations } = await opened(600_000);
    expect(breaker.coolDown).toEqual({ because: "refused; tried again in 10 min", mustWaitMs: 600_000 });
    // A later failure without such a demand doesn't shorten it.
    clock.nowMs = 1_000;
    await observations.failed("a", new GenerationFailed("cut"));
    expect(breaker.coolDown).toEqual({ because: "cut; tried again in 10 min", mustWaitMs: 599_000 });
    clock.nowMs = 600_000;
    expect(breaker.coolDown).toBeUndefined();
    await observations.failed("a", new GenerationFailed("no", { retryAfterMs: 1e12 }));
    expect(breaker.coolDown).toMatchObject({ mustWaitMs: 24 * 3_600_000 });
  });

  it("of a short wait is not asked before its end, and cools down for 30 s beyond it", async () => {
    const { clock, breaker } = await opened(2_000);
    expect(breaker.coolDown).toEqual({ because: "refused; tried again in 30 s", mustWaitMs: 2_000 });
    clock.nowMs = 2_000;
    expect(breaker.coolDown).toEqual({ because: "refused; tried again in 28 s" });
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

describe("the speed of reading prompts", () => {
  const read = (promptTokens: number, prefillMs: number, cachedPromptTokens?: number) => ({
    promptTokens,
    prefillMs,
    ...(cachedPromptTokens === undefined ? {} : { cachedPromptTokens }),
  });

  it("counts the tokens that were not in the cache", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 10, 100, read(1100, 2000, 100));
    expect(observations.of("a").promptTokensPerSecond).toBe(500);
    observations.generated("a", 10, 100, read(1000, 1, 990));
    expect(observations.of("a").promptTokensPerSecond).toBe(500);
  });

  it("rises slowly where the engine doesn't report its cache, which makes prompts look quick", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 10, 100, read(1000, 2000));
    observations.generated("a", 10, 100, read(1000, 100));
    expect(observations.of("a").promptTokensPerSecond).toBe(1450);
    observations.generated("a", 10, 100, read(1000, 1000));
    expect(observations.of("a").promptTokensPerSecond).toBeCloseTo(1315);
  });

  it("is unknown after short prompts, and after an answer that was aborted", () => {
    const observations = createObservations(() => 0);
    observations.generated("a", 10, 100, read(20, 50));
    observations.generated("a", 10, 100, read(0, 50));
    observations.generated("a", 10, 100);
    expect(observations.of("a").promptTokensPerSecond).toBeUndefined();
  });
});
