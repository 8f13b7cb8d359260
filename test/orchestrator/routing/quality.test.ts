import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Observation,
  learn,
  nothingLearned,
  orderByQuality,
  priorAt,
  qualityOf,
  qualityStateSchema,
} from "../../../src/orchestrator/routing/quality.ts";

const names = fc.oneof(
  fc.constantFrom("a", "b", "__proto__", "constructor", "toString", "", "a:1b\u0000"),
  fc.string(),
);
const observations = fc.array(
  fc.record({
    task: fc.oneof(fc.constantFrom("code", "__proto__"), fc.string()),
    scores: fc.array(fc.record({ model: names, score: fc.double({ noNaN: false }) }), { maxLength: 5 }),
    weight: fc.double({ noNaN: false }),
  }),
  { maxLength: 40 },
);

function learned(all: readonly Observation[]) {
  return all.reduce(learn, nothingLearned);
}

describe("the expected quality", () => {
  it("stays a number from 0 to 1, whatever is learned, and survives being written and read", () => {
    fc.assert(
      fc.property(observations, names, fc.string(), (all, model, task) => {
        const state = learned(all);
        expect(qualityStateSchema.parse(JSON.parse(JSON.stringify(state)))).toEqual(state);
        for (const asked of [task, "code", "__proto__"]) {
          const { mean, margin, answers } = qualityOf(state, asked, model, priorAt(3));
          expect(mean).toBeGreaterThanOrEqual(0);
          expect(mean).toBeLessThanOrEqual(1);
          expect(margin).toBeGreaterThanOrEqual(0);
          expect(margin).toBeLessThanOrEqual(1);
          expect(answers).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });

  it("is the prior before anything is learned", () => {
    expect(qualityOf(nothingLearned, "code", "a", 0.6)).toMatchObject({ mean: 0.6, answers: 0 });
  });

  it("rises with a good answer and falls with a bad one, most for the task of the answer", () => {
    const good = learn(nothingLearned, { task: "code", scores: [{ model: "a", score: 1 }], weight: 1 });
    const bad = learn(nothingLearned, { task: "code", scores: [{ model: "a", score: 0 }], weight: 1 });
    expect(qualityOf(good, "code", "a", 0.6).mean).toBeGreaterThan(qualityOf(good, "general", "a", 0.6).mean);
    expect(qualityOf(good, "general", "a", 0.6).mean).toBeGreaterThan(0.6);
    expect(qualityOf(bad, "code", "a", 0.6).mean).toBeLessThan(0.6);
    // The task may be hard, too.
    expect(qualityOf(bad, "code", "b", 0.6).mean).toBeGreaterThan(qualityOf(bad, "code", "a", 0.6).mean + 0.02);
    expect(qualityOf(bad, "code", "b", 0.6).mean).toBeGreaterThan(0.55);
  });
});

describe("the order", () => {
  const contenders = ["a", "b", "c"].map((model) => ({ model, mayExplore: true }));

  it("is the given one until something is learned", () => {
    expect(orderByQuality(nothingLearned, "code", contenders)).toEqual({ order: [0, 1, 2], because: "given" });
  });

  it("follows the evidence", () => {
    let state = nothingLearned;
    for (let at = 0; at < 200; at += 1) {
      const scores = [
        { model: "a", score: 0 },
        { model: "b", score: 0 },
        { model: "c", score: 1 },
      ];
      state = learn(state, { task: "code", scores, weight: 1 });
    }
    expect(orderByQuality(state, "code", contenders)).toEqual({ order: [2, 0, 1], because: "learned" });
  });

  it("explores only what may be explored, and only with a random number", () => {
    expect(orderByQuality(nothingLearned, "code", contenders, 0)).toMatchObject({ because: "explored" });
    expect(orderByQuality(nothingLearned, "code", [{ model: "a" }, { model: "b" }], 0)).toMatchObject({
      order: [0, 1],
      because: "given",
    });
  });
});
