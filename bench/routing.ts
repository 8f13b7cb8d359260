import { randomNumbers } from "../scripts/classifier/labelled.ts";
import { InvalidRequest } from "../src/orchestrator/api/errors.ts";
import type { Bench, BenchResult } from "./bench.ts";
import { type Half, type PoolReplay, halfOf, replayPools, samplePools } from "./support/routing/pools.ts";
import { type Feedback, type Replay, replay } from "./support/routing/replay.ts";
import { type Results, poolOf, readResults } from "./support/routing/results.ts";
import { median, percentile, rounded } from "./support/statistics.ts";
import { table } from "./support/table.ts";

/** Points (hundredths of the questions) and shares. */
const bars = { all: { below: 0.3, gap: 2, way: 0.6 }, chosen: { below: 0.5 } };

export const routing: Bench = {
  name: "routing",
  summary: "replay per-question results of models: what the learned choice gains over the best single model",
  options: ["folder", "feedback", "order", "seed", "pools", "half"],
  help: `--folder DIR: all *.jsonl of it, lines of {"question", "category", "model", "correct"}; scripts/mmlu-pro-results.ts
writes such files. Questions come in the order of the files; those that a model of the pool lacks are left out.
--feedback all (default): every model's result is learned, as comparisons give it; chosen: that of the model that answered.
--order a,b,c: models in the order that holds without evidence; the others follow as they are read.
--seed N: of what is random (default 1).
--pools N: instead of one pool of all models, N pools of 2 to 6, every other one of similar models, on the half of the
questions that the estimator was not tuned on, mixed and in the order of the files; prints whether the bars are reached.
--half tuning|judged (default judged): with --pools.
ours: chosen before the question's results are seen, then learned. swaps: share of the questions that another model answered
than the question before. Regret: right answers that are missing against the best single model, and against the best
model of each category, both known only afterwards. --json without --pools: one line, rates as fractions.`,
  runsSources: true,
  async run({ folder, feedback = "all", order, seed = "1", pools, half = "judged" }) {
    if (folder === undefined) throw new InvalidRequest("--folder DIR is missing: the folder of the *.jsonl files");
    if (!isFeedback(feedback)) throw new InvalidRequest(`--feedback ${feedback}: expected all or chosen`);
    if (!isHalf(half)) throw new InvalidRequest(`--half ${half}: expected tuning or judged`);
    const from = whole("seed", seed);
    const results = await readResults(folder);
    if (pools === undefined) return onePool(results, { feedback, order, seed: from });
    return manyPools(halfOf(results, half), { feedback, half, count: whole("pools", pools), seed: from });
  },
};

function isFeedback(value: string): value is Feedback {
  return value === "all" || value === "chosen";
}

function isHalf(value: string): value is Half {
  return value === "tuning" || value === "judged";
}

function whole(option: string, value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidRequest(`--${option} ${value}: expected a whole number`);
  return Number(value);
}

function onePool(
  results: Results,
  { feedback, order, seed }: { readonly feedback: Feedback; readonly order: string | undefined; readonly seed: number },
): BenchResult {
  const named = order === undefined ? [] : [...new Set(order.split(",").map((name) => name.trim()))];
  const unknown = named.find((name) => !results.models.includes(name));
  if (unknown !== undefined) {
    throw new InvalidRequest(`--order: there is no model "${unknown}"; there are ${results.models.join(", ")}`);
  }
  const pool = poolOf(results, [...named, ...results.models.filter((model) => !named.includes(model))]);
  const lacking = results.questions.length - pool.questions.length;
  if (pool.questions.length === 0) throw new InvalidRequest("there is no question that all models answered");
  const found = replay(pool, feedback, randomNumbers(seed));
  const rows = Object.entries({
    random: found.random,
    [`first (${pool.models[0] ?? ""})`]: found.first,
    "best single": found.bestSingle,
    ours: found.ours,
    "category oracle": found.categoryOracle,
    oracle: found.oracle,
  }).map(([choice, rate]) => ({
    choice,
    right_percent: points(rate),
    against_best_single: points(rate - found.bestSingle),
  }));
  const regret = found.regret.map(({ questions, single, category }) => ({
    questions,
    regret_best_single: rounded(single, 1),
    regret_category_oracle: rounded(category, 1),
  }));
  const facts = [
    `${pool.models.length} models, ${pool.questions.length} questions`,
    ...(lacking === 0 ? [] : [`${lacking} left out that a model lacks`]),
    `feedback ${feedback}`,
    `swaps: ${points(found.swaps)}% of questions, ${points(found.swapsInCategory)}% within a category`,
    barOf(found, feedback),
  ];
  const { random, bestSingle, ours, categoryOracle, oracle, swaps } = found;
  return {
    rows,
    line: { random, best_single: bestSingle, ours, category_oracle: categoryOracle, oracle, swaps },
    verdict: `${table(regret)}\n\n${facts.join("; ")}`,
  };
}

/** What the bars say of one pool. */
function barOf(found: Replay, feedback: Feedback): string {
  if (feedback === "chosen") {
    return `${points(found.ours - found.first)} points against the first model (bar -${bars.chosen.below})`;
  }
  const way = wayOf(found);
  const most = `${points(found.ours - found.bestSingle)} points against the best single model (bar -${bars.all.below})`;
  return way === undefined ? most : `${most}, ${Math.round(100 * way)}% of the way to the category oracle`;
}

/** How far from the best single model to the category oracle; undefined where these are close to each other. */
function wayOf({ ours, bestSingle, categoryOracle }: Replay): number | undefined {
  const gap = categoryOracle - bestSingle;
  return 100 * gap < bars.all.gap ? undefined : (ours - bestSingle) / gap;
}

function manyPools(
  results: Results,
  {
    feedback,
    half,
    count,
    seed,
  }: { readonly feedback: Feedback; readonly half: Half; readonly count: number; readonly seed: number },
): BenchResult {
  if (results.models.length < 2) throw new InvalidRequest("--pools: pools need the results of two models or more");
  const pools = samplePools(results, count, seed);
  const byOrder = (["mixed", "file"] as const).map((order) => ({
    order,
    found: replayPools(results, pools, { feedback, order, seed }),
  }));
  const rows = byOrder.map(({ order, found }) =>
    feedback === "all" ? rowOfAll(order, found) : rowOfChosen(order, found),
  );
  const every = byOrder.flatMap(({ found }) => found);
  const { below } = bars[feedback];
  const losses = every.map((each) => against(each, feedback)).filter((difference) => difference < -below);
  const ways = every.flatMap((each) => wayOf(each) ?? []);
  const way = ways.length === 0 ? undefined : ways.reduce((sum, each) => sum + each, 0) / ways.length;
  const isFar = feedback === "chosen" || way === undefined || way >= bars.all.way;
  const parts = [
    `${results.questions.length} ${half === "judged" ? "questions not used for tuning" : "questions used for tuning"}, ${pools.length} pools, feedback ${feedback}`,
    `bar "never more than ${below} points below the ${feedback === "all" ? "best single model" : "first model"}": ${
      losses.length === 0
        ? "reached"
        : `missed by ${losses.length} of ${every.length} replays, at worst ${rounded(Math.min(...losses), 2)}`
    }`,
    ...(feedback === "chosen" || way === undefined
      ? []
      : [
          `bar "${100 * bars.all.way}% of the way to the category oracle where it is ${bars.all.gap} points away": ${isFar ? "reached" : "missed"}, ${rounded(100 * way)}% in ${ways.length} replays`,
        ]),
  ];
  return { rows, verdict: parts.join("\n"), passed: losses.length === 0 && isFar };
}

function against({ ours, bestSingle, first }: Replay, feedback: Feedback): number {
  return 100 * (ours - (feedback === "all" ? bestSingle : first));
}

function rowOfAll(order: string, found: readonly PoolReplay[]): Readonly<Record<string, string | number>> {
  const ways = found.flatMap((each) => wayOf(each) ?? []);
  return {
    questions: order,
    ...spread(
      found.map((each) => against(each, "all")),
      bars.all.below,
    ),
    pools_2_points: ways.length,
    way_mean: ways.length === 0 ? "" : percent(ways.reduce((sum, way) => sum + way, 0) / ways.length),
    way_worst: ways.length === 0 ? "" : percent(Math.min(...ways)),
    way_best: ways.length === 0 ? "" : percent(Math.max(...ways)),
    swaps: percent(found.reduce((sum, { swapsInCategory }) => sum + swapsInCategory, 0) / found.length),
  };
}

function rowOfChosen(order: string, found: readonly PoolReplay[]): Readonly<Record<string, string | number>> {
  const behind = found.filter(({ first, bestSingle }) => bestSingle - first > 0.01);
  const gap = behind.reduce((sum, { first, bestSingle }) => sum + bestSingle - first, 0);
  const won = behind.reduce((sum, { first, ours }) => sum + ours - first, 0);
  return {
    questions: order,
    ...spread(
      found.map((each) => against(each, "chosen")),
      bars.chosen.below,
    ),
    first_1_point_behind: behind.length,
    gap_won: behind.length === 0 ? "" : percent(won / gap),
    swaps: percent(found.reduce((sum, { swapsInCategory }) => sum + swapsInCategory, 0) / found.length),
  };
}

/** In points, against the model of the bar. */
function spread(differences: readonly number[], below: number): Readonly<Record<string, number>> {
  return {
    replays: differences.length,
    worst: rounded(Math.min(...differences), 2),
    p5: rounded(percentile(differences, 5), 2),
    median: rounded(median(differences), 2),
    mean: rounded(differences.reduce((sum, each) => sum + each, 0) / differences.length, 2),
    best: rounded(Math.max(...differences), 2),
    below_bar: differences.filter((difference) => difference < -below).length,
  };
}

function percent(share: number): string {
  return `${rounded(100 * share, 1)}%`;
}

function points(share: number): number {
  return rounded(100 * share, 2);
}
