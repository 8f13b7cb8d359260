import { randomNumbers } from "../../../scripts/classifier/labelled.ts";
import { type Feedback, type Replay, replay } from "./replay.ts";
import { type Pool, type Results, poolOf } from "./results.ts";

/** Halves of the questions: the constants of the estimator were tuned on one, and are judged on the other. */
export type Half = "tuning" | "judged";

/** Fixed, so that both halves stay what they are. */
const halvesSeed = 99;
/** Models of a similar pool differ by at most twice this share of right answers. */
const similar = 0.05;
const poolSizes = { least: 2, most: 6 };

export function halfOf({ models, questions }: Results, half: Half): Results {
  const random = randomNumbers(halvesSeed);
  return { models, questions: questions.filter(() => random() < 0.5 === (half === "tuning")) };
}

/** Pools of two to six models in a random order: in turn similar ones, where a choice matters, and any. */
export function samplePools(results: Results, count: number, seed: number): readonly (readonly string[])[] {
  const { models, questions } = results;
  const random = randomNumbers(seed);
  const rates = models.map((_, at) => {
    const own = questions.flatMap(({ scores }) => scores[at] ?? []);
    return own.reduce((sum, score) => sum + score, 0) / Math.max(1, own.length);
  });
  return Array.from({ length: count }, (_, index) => {
    const size = poolSizes.least + Math.floor(random() * (poolSizes.most - poolSizes.least + 1));
    // A model without a neighbour would be alone.
    const tries = index % 2 === 0 ? 100 : 0;
    for (let tried = 0; tried < tries; tried += 1) {
      const middle = rates[Math.floor(random() * models.length)] ?? 0;
      const near = models.filter((__, at) => Math.abs((rates[at] ?? 0) - middle) <= similar);
      if (near.length >= poolSizes.least) return shuffled(near, random).slice(0, size);
    }
    return shuffled(models, random).slice(0, size);
  });
}

/** Order of the questions: as the files have them, which is category after category in MMLU-Pro, or mixed. */
export type QuestionOrder = "mixed" | "file";

export interface PoolReplay extends Replay {
  readonly models: readonly string[];
}

/** With `chosen`, each pool also runs in the reverse order of models, so that good and bad ones go first. */
export function replayPools(
  results: Results,
  pools: readonly (readonly string[])[],
  { feedback, order, seed }: { readonly feedback: Feedback; readonly order: QuestionOrder; readonly seed: number },
): readonly PoolReplay[] {
  const ordered = feedback === "all" ? pools : pools.flatMap((models) => [models, models.toReversed()]);
  return ordered.map((models, index) => {
    const random = randomNumbers(seed * 1000 + index);
    const pool = poolOf(results, models);
    const questions: Pool["questions"] = order === "file" ? pool.questions : shuffled(pool.questions, random);
    return { models, ...replay({ models, questions }, feedback, random) };
  });
}

function shuffled<Item>(items: readonly Item[], random: () => number): readonly Item[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
