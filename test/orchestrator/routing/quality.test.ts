import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { orderByQuality, priorAt, qualityOf } from "../../../src/orchestrator/routing/quality.ts";
import {
  type Observation,
  type QualityState,
  combined,
  faded,
  learn,
  nothingLearned,
  qualityStateSchema,
  unlearn,
} from "../../../src/orchestrator/routing/quality-state.ts";

const hostile = ["__proto__", "constructor", "toString", "", "a:1b\u0000", "x".repeat(600), "\ud800"];
const anyName = fc.oneof(fc.constantFrom("a", "b", ...hostile), fc.string());
const anything = fc.array(
  fc.record({
    task: anyName,
    scores: fc.array(fc.record({ model: anyName, score: fc.double() }), { maxLength: 5 }),
    weight: fc.double(),
  }),
  { maxLength: 40 },
);

const models = ["a", "b", "c", "d"];
const tasks = ["code", "general", "summarization"];
const observation = fc.record({
  task: fc.constantFrom(...tasks),
  scores: fc
    .uniqueArray(fc.constantFrom(...models), { minLength: 1 })
    .chain((names) =>
      fc.tuple(...names.map((model) => fc.record({ model: fc.constant(model), score: fc.constantFrom(0, 0.25, 1) }))),
    ),
  weight: fc.constantFrom(0.1, 0.5, 1),
});
const usual = fc.array(observation, { maxLength: 60 });

function learned(all: readonly Observation[]): QualityState {
  return all.reduce(learn, nothingLearned);
}

function repeated(observed: Observation, times: number, state = nothingLearned): QualityState {
  return Array.from({ length: times }, () => observed).reduce(learn, state);
}

function rating(model: string, score: number, task = "code"): Observation {
  return { task, scores: [{ model, score }], weight: 1 };
}

/** Expected quality of all models at all tasks. */
function allOf(state: QualityState): readonly number[] {
  return tasks.flatMap((task) =>
    models.flatMap((model) => {
      const { mean, margin, answers } = qualityOf(state, task, model, 0.6);
      return [mean, margin, answers];
    }),
  );
}

function expectSame(a: QualityState, b: QualityState): void {
  const expected = allOf(b);
  for (const [at, value] of allOf(a).entries()) expect(value).toBeCloseTo(expected[at] ?? Number.NaN, 6);
}

describe("the expected quality", () => {
  it("stays a number from 0 to 1, whatever is learned, and survives being written and read", () => {
    fc.assert(
      fc.property(anything, anyName, anyName, (all, model, task) => {
        const state = learned(all);
        expect(qualityStateSchema.parse(JSON.parse(JSON.stringify(state)))).toEqual(state);
        for (const asked of [task, "a", ...all.map((each) => each.task)]) {
          for (const name of [model, ...all.flatMap(({ scores }) => scores.map((each) => each.model))]) {
            const { mean, margin, answers } = qualityOf(state, asked, name, priorAt(3));
            expect(mean).toBeGreaterThanOrEqual(0);
            expect(mean).toBeLessThanOrEqual(1);
            expect(margin).toBeGreaterThanOrEqual(0);
            expect(margin).toBeLessThanOrEqual(1);
            expect(answers).toBeGreaterThanOrEqual(0);
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  it("is the prior before anything is learned; the prior falls with the position and ends", () => {
    expect(qualityOf(nothingLearned, "code", "a", 0.6)).toMatchObject({ mean: 0.6, answers: 0 });
    fc.assert(
      fc.property(fc.nat(5000), (at) => {
        expect(priorAt(at + 1)).toBeLessThan(priorAt(at));
        expect(priorAt(at)).toBeGreaterThan(0.5);
      }),
    );
  });

  it("rises with a good answer and falls with a bad one, most for the task of the answer", () => {
    const good = learn(nothingLearned, rating("a", 1));
    const bad = learn(nothingLearned, rating("a", 0));
    expect(qualityOf(good, "code", "a", 0.6).mean).toBeGreaterThan(qualityOf(good, "general", "a", 0.6).mean);
    expect(qualityOf(good, "general", "a", 0.6).mean).toBeGreaterThan(0.6);
    expect(qualityOf(bad, "code", "a", 0.6).mean).toBeLessThan(0.6);
    // The task may be hard, too.
    expect(qualityOf(bad, "code", "b", 0.6).mean).toBeGreaterThan(qualityOf(bad, "code", "a", 0.6).mean + 0.02);
    expect(qualityOf(bad, "code", "b", 0.6).mean).toBeGreaterThan(0.55);
  });

  it("is monotone: one more good answer never lowers a rated model's mean, one more bad answer never raises it", () => {
    fc.assert(
      fc.property(usual, fc.constantFrom(...models), fc.constantFrom(...tasks), (all, model, task) => {
        const state = learned(all);
        const before = qualityOf(state, task, model, 0.6).mean;
        // The rating that makes a second model's answers whole also makes the task's level known: 0.02 at most in
        // 60,000 runs.
        const answers = all
          .filter((each) => each.task === task && each.scores.some((score) => score.model === model))
          .reduce((sum, each) => sum + each.weight, 0);
        const isSingle = all.some(
          (each) => each.task === task && each.scores.length === 1 && each.scores[0]?.model === model,
        );
        const slack = isSingle && answers >= 0.999 ? 1e-9 : 0.03;
        expect(qualityOf(learn(state, rating(model, 1, task)), task, model, 0.6).mean).toBeGreaterThanOrEqual(
          before - slack,
        );
        expect(qualityOf(learn(state, rating(model, 0, task)), task, model, 0.6).mean).toBeLessThanOrEqual(
          before + slack,
        );
      }),
    );
  });

  it("becomes more certain with answers, and approaches what was seen", () => {
    const margins = [0, 1, 10, 100, 1000].map((times) => {
      return qualityOf(repeated(rating("a", 0.9), times), "code", "a", 0.6).margin;
    });
    expect(margins).toEqual(margins.toSorted((a, b) => b - a));
    expect(qualityOf(repeated(rating("a", 0.9), 1000), "code", "a", 0.6).mean).toBeCloseTo(0.9, 1);
  });

  it("does not depend on the order of observations", () => {
    fc.assert(
      fc.property(
        usual.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => expectSame(learned(all), learned(shuffled)),
      ),
    );
  });

  it("of a comparison does not depend on how hard its question was", () => {
    const pair = (a: number, b: number) => {
      return {
        task: "code",
        scores: [
          { model: "a", score: a },
          { model: "b", score: b },
        ],
        weight: 1,
      };
    };
    const difference = (observed: Observation) => {
      const state = repeated(observed, 20);
      return qualityOf(state, "code", "a", 0.6).mean - qualityOf(state, "code", "b", 0.6).mean;
    };
    expect(difference(pair(0.4, 0.2))).toBeGreaterThan(0.05);
    expect(difference(pair(0.9, 0.7))).toBeCloseTo(difference(pair(0.4, 0.2)), 6);
  });

  it("learns across tasks: models that are good at one of two similar tasks are expected to be good at the other", () => {
    let state = nothingLearned;
    const learnPair = (task: string, better: string, worse: string) => {
      const scores = [
        { model: better, score: 1 },
        { model: worse, score: 0 },
      ];
      state = repeated({ task, scores, weight: 1 }, 150, state);
    };
    for (const [better, worse] of [
      ["a", "b"],
      ["c", "d"],
      ["e", "f"],
    ] as const) {
      learnPair("math", better, worse);
      learnPair("physics", better, worse);
      learnPair("poems", worse, better);
    }
    const ahead = (task: string) => qualityOf(state, task, "g", 0.6).mean - qualityOf(state, task, "h", 0.6).mean;
    learnPair("math", "g", "h");
    expect(ahead("physics")).toBeGreaterThan(ahead("poems") + 0.01);
  });
});

describe("a state", () => {
  it("is the same in whatever order weights were added up to a whole answer", () => {
    const both = (weight: number): Observation => {
      const scores = ["a", "b"].map((model) => ({ model, score: 0 }));
      return { task: "code", scores, weight };
    };
    const weights = [0.1, 0.5, 0.1, 0.1, 0.1, 0.1];
    expectSame(learned(weights.map(both)), learned(weights.toSorted((a, b) => a - b).map(both)));
    expectSame(unlearn(learned([...weights.map(both), both(1)]), both(1)), learned(weights.map(both)));
  });

  it("forgets an observation that is taken back", () => {
    fc.assert(
      fc.property(usual, observation, (all, extra) => {
        expectSame(unlearn(learned([...all, extra]), extra), learned(all));
      }),
    );
    expect(unlearn(learn(nothingLearned, rating("a", 1)), rating("a", 1))).toEqual(nothingLearned);
    expect(unlearn(nothingLearned, rating("a", 1))).toEqual(nothingLearned);
  });

  it("and another add up to what both learned", () => {
    fc.assert(
      fc.property(usual, usual, (some, others) => {
        expectSame(combined(learned(some), learned(others)), learned([...some, ...others]));
      }),
    );
  });

  it("fades to at most so many answers, with the same mean score", () => {
    const many = repeated(rating("a", 1), 100, repeated(rating("b", 1), 100));
    const few = faded(many, { task: "code", models: ["a"], mostAnswers: 3 });
    expect(qualityOf(few, "code", "a", 0.6).answers).toBe(3);
    expect(qualityOf(few, "code", "b", 0.6).answers).toBe(100);
    expectSame(few, repeated(rating("a", 1), 3, repeated(rating("b", 1), 100)));
    expect(faded(few, { task: "code", models: ["a"], mostAnswers: 3 })).toEqual(few);
  });

  it("is bounded: models and tasks that were not learned of for longest are left out, names are cut off", () => {
    let state = nothingLearned;
    for (let at = 0; at < 1000; at += 1) state = learn(state, rating(`model-${at}`, 1));
    for (let at = 0; at < 200; at += 1) state = learn(state, rating("a".repeat(100_000), 1, `task-${at}`));
    expect(JSON.stringify(state).length).toBeLessThan(300_000);
    expect(state.tasks).toHaveLength(128);
    expect(qualityOf(state, "task-199", "a".repeat(100_000), 0.6).answers).toBe(1);
  });

  it("answers for a thousand models within milliseconds", () => {
    const names = Array.from({ length: 1000 }, (_, at) => `model-${at}`);
    let state = nothingLearned;
    for (const task of tasks) for (const name of names.slice(0, 200)) state = learn(state, rating(name, 1, task));
    const contenders = names.map((model) => ({ model, mayExplore: true }));
    const times = Array.from({ length: 20 }, () => {
      const startedAt = performance.now();
      expect(orderByQuality(state, "code", contenders).order).toHaveLength(1000);
      return performance.now() - startedAt;
    });
    expect(Math.min(...times)).toBeLessThan(5);
  });

  it("puts models without evidence before a first one that is proven to be worse, in their order", () => {
    const contenders = Array.from({ length: 1000 }, (_, at) => ({ model: `model-${at}` }));
    const unknown = contenders.map((_, at) => at).slice(1, -1);
    const good = repeated(rating("model-999", 1), 12);
    for (const [times, expected] of [
      [12, [999, 0, ...unknown]],
      [30, [999, ...unknown, 0]],
    ] as const) {
      const state = repeated(rating("model-0", 0), times, good);
      expect(orderByQuality(state, "code", contenders)).toEqual({ order: expected, because: "learned" });
    }
  });

  it("is the same for each model as if the order were made of its expected quality alone", () => {
    fc.assert(
      fc.property(usual, (all) => {
        const state = learned(all);
        const names = [...models, "unknown-1", "unknown-2", "unknown-3"];
        const { order } = orderByQuality(
          state,
          "code",
          names.map((model) => ({ model })),
        );
        const ahead = order.slice(0, order.indexOf(0));
        const means = names.map((model, at) => qualityOf(state, "code", model, priorAt(at)).mean);
        expect(ahead).toEqual(ahead.toSorted((a, b) => (means[b] ?? 0) - (means[a] ?? 0) || a - b));
        for (const at of ahead) expect(means[at]).toBeGreaterThanOrEqual(means[0] ?? 1);
        // Of those about which nothing is known, the ones that go ahead are the first ones.
        const unknown = ahead.filter(
          (at) => at >= models.length && !all.some(({ scores }) => scores.some((each) => each.model === names[at])),
        );
        expect(unknown).toEqual(unknown.map((_, at) => models.length + at));
      }),
    );
  });
});

describe("the order", () => {
  const contenders = ["a", "b", "c"].map((model) => ({ model, mayExplore: true }));

  it("has every contender once, for whatever was learned, and is the same for the same state and number", () => {
    fc.assert(
      fc.property(usual, fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }), (all, random) => {
        const state = learned(all);
        const { order } = orderByQuality(state, "code", contenders, random);
        expect(order.toSorted((a, b) => a - b)).toEqual([0, 1, 2]);
        expect(orderByQuality(learned(all), "code", contenders, random).order).toEqual(order);
        expect(orderByQuality(state, "code", [], random)).toEqual({ order: [], because: "given" });
      }),
    );
  });

  it("is the given one until something is learned", () => {
    expect(orderByQuality(nothingLearned, "code", contenders)).toEqual({ order: [0, 1, 2], because: "given" });
  });

  it("follows comparisons at once", () => {
    const scores = [
      { model: "a", score: 0 },
      { model: "b", score: 0 },
      { model: "c", score: 1 },
    ];
    const state = repeated({ task: "code", scores, weight: 1 }, 2);
    expect(orderByQuality(state, "code", contenders)).toEqual({ order: [2, 0, 1], because: "learned" });
  });

  it("without comparisons changes on proof only", () => {
    const once = learn(nothingLearned, rating("a", 0));
    expect(orderByQuality(once, "code", contenders).because).toBe("given");
    const often = repeated(rating("a", 0), 10, repeated(rating("b", 1), 10));
    expect(orderByQuality(often, "code", contenders)).toEqual({ order: [1, 0, 2], because: "learned" });
  });

  it("explores only what may be explored, only with a random number, and rarely what seems worse", () => {
    expect(orderByQuality(nothingLearned, "code", contenders, 0)).toMatchObject({ because: "explored" });
    expect(orderByQuality(nothingLearned, "code", contenders, 0.5)).toMatchObject({ because: "given" });
    const fixed = contenders.map(({ model }) => ({ model }));
    expect(orderByQuality(nothingLearned, "code", fixed, 0)).toEqual({ order: [0, 1, 2], because: "given" });
    expect(orderByQuality(nothingLearned, "code", contenders.slice(0, 1), 0).because).toBe("given");
    const proven = repeated(rating("a", 1), 50, repeated(rating("b", 0), 50));
    expect(orderByQuality(proven, "code", contenders.slice(0, 2), 0)).toMatchObject({ because: "given" });
  });

  it("stops to explore when that has cost enough, and goes on when more answers have paid for it", () => {
    const costly = repeated(rating("a", 0.8), 200, repeated(rating("b", 0.5), 40, repeated(rating("c", 0.6), 2)));
    expect(orderByQuality(costly, "code", contenders, 0)).toMatchObject({ because: "given" });
    const paid = repeated(rating("a", 0.8), 20_000, costly);
    expect(orderByQuality(paid, "code", contenders, 0)).toMatchObject({ order: [2, 0, 1], because: "explored" });
  });
});
