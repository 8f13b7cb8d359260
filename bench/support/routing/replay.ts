import { orderByQuality } from "../../../src/orchestrator/routing/quality.ts";
import { learn, nothingLearned } from "../../../src/orchestrator/routing/quality-state.ts";
import type { Pool } from "./results.ts";

/** Whose results are learned: those of all models, as a comparison gives them, or of the model that answered. */
export type Feedback = "all" | "chosen";

/** Rates are shares of the questions answered correctly. */
export interface Replay {
  readonly random: number;
  /** The best model for all questions, known only afterwards. */
  readonly bestSingle: number;
  /** The model that the given order puts first. */
  readonly first: number;
  readonly ours: number;
  /** The best model of each category, known only afterwards. */
  readonly categoryOracle: number;
  /** A model that is right, if there is one. */
  readonly oracle: number;
  /** Share of the questions that another model answered than the question before. */
  readonly swaps: number;
  /** The same, against the question before of the same category. */
  readonly swapsInCategory: number;
  /** Answers that `ours` lacks so far, at each tenth of the questions. */
  readonly regret: readonly { readonly questions: number; readonly single: number; readonly category: number }[];
}

const regretPoints = 10;

/** Asks the questions in order, once: chooses before the results are seen, then learns. */
export function replay({ models, questions }: Pool, feedback: Feedback, random: () => number): Replay {
  const chosen: number[] = [];
  const contenders = models.map((model) => ({ model, mayExplore: true }));
  let state = nothingLearned;
  for (const { category, scores } of questions) {
    const { order } = orderByQuality(state, category, contenders, feedback === "chosen" ? random() : undefined);
    const [choice = 0] = order;
    chosen.push(choice);
    const seen = models.map((model, at) => ({ model, score: scores[at] ?? 0 }));
    state = learn(state, {
      task: category,
      scores: feedback === "all" ? seen : seen.slice(choice, choice + 1),
      weight: 1,
    });
  }
  return judged({ models, questions }, chosen);
}

function judged({ models, questions }: Pool, chosen: readonly number[]): Replay {
  const share = (scores: readonly number[]) => sum(scores) / Math.max(1, questions.length);
  const totals = models.map((_, at) => sum(questions.map(({ scores }) => scores[at] ?? 0)));
  const best = totals.indexOf(Math.max(...totals));
  const bestOf = new Map<string, number>();
  for (const category of new Set(questions.map((each) => each.category))) {
    const own = questions.filter((each) => each.category === category);
    const ofModels = models.map((_, at) => sum(own.map(({ scores }) => scores[at] ?? 0)));
    bestOf.set(category, ofModels.indexOf(Math.max(...ofModels)));
  }
  const ours = questions.map(({ scores }, at) => scores[chosen[at] ?? 0] ?? 0);
  const single = questions.map(({ scores }) => scores[best] ?? 0);
  const category = questions.map(({ category: name, scores }) => scores[bestOf.get(name) ?? 0] ?? 0);
  const before = new Map<string, number>();
  let swapsInCategory = 0;
  for (const [at, { category: name }] of questions.entries()) {
    const choice = chosen[at] ?? 0;
    if ((before.get(name) ?? choice) !== choice) swapsInCategory += 1;
    before.set(name, choice);
  }
  return {
    random: sum(totals) / models.length / Math.max(1, questions.length),
    bestSingle: share(single),
    first: (totals[0] ?? 0) / Math.max(1, questions.length),
    ours: share(ours),
    categoryOracle: share(category),
    oracle: share(questions.map(({ scores }) => Math.max(...scores))),
    swaps: share(chosen.map((choice, at) => (at > 0 && choice !== chosen[at - 1] ? 1 : 0))),
    swapsInCategory: swapsInCategory / Math.max(1, questions.length),
    regret: Array.from({ length: regretPoints }, (_, index) => {
      const to = Math.round(((index + 1) * questions.length) / regretPoints);
      const own = sum(ours.slice(0, to));
      return { questions: to, single: sum(single.slice(0, to)) - own, category: sum(category.slice(0, to)) - own };
    }),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
