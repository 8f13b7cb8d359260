/**
 * Trains the classifier of tasks: `npx tsx scripts/train-classifier.ts --folder DIR` writes
 * `src/orchestrator/routing/task-weights.json`. The folder holds checkouts of the public repositories that
 * `classifier/sources.ts` lists with their licences; prompts of our own are in `classifier/templates/`. None of the
 * foreign prompts is stored here. A fifth of the foreign prompts is never trained on: `npm run bench -- classify --folder
 * DIR` measures it. The same folder gives the same file.
 *
 * Multinomial logistic regression by AdaGrad: trained on all features, then again on those with the greatest influence.
 * The confidence (temperature) and the threshold below which a prompt is `general` are tuned on an eighth of the foreign
 * and of the written prompts, never on what is held out or on the repository's own test.
 */
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { classifiedTasks } from "../src/orchestrator/api/types.ts";
import { bucketCount, taskFeatures } from "../src/orchestrator/routing/classify.ts";
import { taskPrompts } from "../test/orchestrator/routing/task-prompts.ts";
import { type Labelled, randomNumbers, split, splitHeldOut } from "./classifier/labelled.ts";
import { readSources, sourceNames, withForeignTexts } from "./classifier/sources.ts";
import { ownPrompts, readSlots, writtenPrompts } from "./classifier/templates.ts";
import { crossedPrompts, withWrappers } from "./classifier/wrappers.ts";

const target = fileURLToPath(new URL("../src/orchestrator/routing/task-weights.json", import.meta.url));

/** So many buckets keep weights: the file stays below 150 KB. Twice as many with four bits are better than with eight. */
const keptBuckets = 17_000;
/** What four bits stand for: the steps between small weights, which are many, are small. */
const steps = Array.from({ length: 15 }, (_, index) =>
  Math.round(Math.sign(index - 7) * 127 * (Math.abs(index - 7) / 7) ** 1.5),
);
const ownPerClass = 600;
/** Requests with pasted material, and the share of all prompts that are learned wrapped, too. */
const crossedCount = 2500;
const wrappedShare = 0.6;

interface Example {
  readonly buckets: readonly number[];
  readonly values: readonly number[];
  readonly task: number;
  readonly weight: number;
}

/** Of each class, the weights of all buckets. */
type Weights = readonly Float64Array[];

/** Foreign prompts are fewer, and nearer to what users write. */
const foreignWeight = 3;
const rate = 0.25;
const decay = 3e-4;
const rounds = 8;

function examplesOf(prompts: readonly Labelled[]): readonly Example[] {
  const perClass = new Map<string, number>();
  for (const { task } of prompts) perClass.set(task, (perClass.get(task) ?? 0) + 1);
  const mean = prompts.length / perClass.size;
  return prompts.map((prompt) => ({
    ...taskFeatures(prompt),
    task: classifiedTasks.indexOf(prompt.task),
    // Rare classes count more, but not so much that a few prompts decide everything.
    weight: Math.sqrt(mean / (perClass.get(prompt.task) ?? mean)) * (prompt.group === "own" ? 1 : foreignWeight),
  }));
}

/** The probability of each class. */
function probabilitiesOf({ buckets, values }: Example, weights: Weights, temperature = 1): readonly number[] {
  const scores = weights.map((ofClass) => {
    let score = 0;
    for (let at = 0; at < buckets.length; at += 1)
      score += (values[at] as number) * (ofClass[buckets[at] as number] as number);
    return score / temperature;
  });
  const max = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - max));
  const sum = powers.reduce((total, each) => total + each, 0);
  return powers.map((power) => power / sum);
}

/** The most probable class. */
function guessOf(
  example: Example,
  weights: Weights,
  temperature = 1,
): { readonly task: number; readonly sure: number } {
  const probabilities = probabilitiesOf(example, weights, temperature);
  const sure = Math.max(...probabilities);
  return { task: probabilities.indexOf(sure), sure };
}

function train(examples: readonly Example[], isKept: (bucket: number) => boolean): Weights {
  const seen: Example[] = examples.map((example) => {
    const places = example.buckets.flatMap((bucket, at) => (isKept(bucket) ? [at] : []));
    return {
      ...example,
      buckets: places.map((at) => example.buckets[at] as number),
      values: places.map((at) => example.values[at] as number),
    };
  });
  const weights = classifiedTasks.map(() => new Float64Array(bucketCount));
  const squares = classifiedTasks.map(() => new Float64Array(bucketCount).fill(1e-3));
  const random = randomNumbers(1);
  for (let round = 0; round < rounds; round += 1) {
    for (let at = seen.length - 1; at > 0; at -= 1) {
      const other = Math.floor(random() * (at + 1));
      [seen[at], seen[other]] = [seen[other] as Example, seen[at] as Example];
    }
    for (const example of seen) {
      const probabilities = probabilitiesOf(example, weights);
      for (const [index, probability] of probabilities.entries()) {
        const error = example.weight * (probability - (index === example.task ? 1 : 0));
        step(example, error, weights[index] as Float64Array, squares[index] as Float64Array);
      }
    }
  }
  return weights;
}

/** AdaGrad: each weight's steps get shorter the farther it has moved. */
function step({ buckets, values }: Example, error: number, weights: Float64Array, squares: Float64Array): void {
  for (let at = 0; at < buckets.length; at += 1) {
    const bucket = buckets[at] as number;
    const weight = weights[bucket] as number;
    const slope = error * (values[at] as number) + decay * weight;
    const square = (squares[bucket] as number) + slope * slope;
    squares[bucket] = square;
    weights[bucket] = weight - (rate * slope) / Math.sqrt(square);
  }
}

/** The weights of a bucket, less their mean: a constant for all classes changes no probability. */
function rowOf(weights: Weights, bucket: number): readonly number[] {
  const row = weights.map((ofClass) => ofClass[bucket] as number);
  const mean = row.reduce((sum, each) => sum + each, 0) / row.length;
  return row.map((each) => each - mean);
}

/** The buckets whose weights move the most probability, in all examples. */
function influential(examples: readonly Example[], weights: Weights, count: number): ReadonlySet<number> {
  const uses = new Float64Array(bucketCount);
  for (const { buckets, values } of examples) {
    for (const [at, bucket] of buckets.entries()) uses[bucket] = (uses[bucket] as number) + (values[at] as number) ** 2;
  }
  const ranked = [...uses.entries()]
    .filter(([, use]) => use > 0)
    .map(([bucket, use]) => ({
      bucket,
      influence: rowOf(weights, bucket).reduce((sum, each) => sum + each ** 2, 0) * use,
    }));
  return new Set(
    ranked
      .toSorted((a, b) => b.influence - a.influence || a.bucket - b.bucket)
      .slice(0, count)
      .map(({ bucket }) => bucket),
  );
}

/** The temperature at which the confidences are most nearly true. */
function temperatureOf(examples: readonly Example[], weights: Weights): number {
  const loss = (temperature: number): number =>
    examples.reduce(
      (sum, example) => sum - Math.log(probabilitiesOf(example, weights, temperature)[example.task] || 1e-12),
      0,
    );
  const choices = Array.from({ length: 30 }, (_, index) => (5 + index) / 10);
  return choices.reduce((best, each) => (loss(each) < loss(best) ? each : best), 1);
}

/** The highest threshold that costs at most 1.5 % of the accuracy: what is doubtful is better `general`. */
function thresholdOf(examples: readonly Example[], weights: Weights, temperature: number): number {
  const general = classifiedTasks.indexOf("general");
  const guesses = examples.map((example) => ({ right: example.task, ...guessOf(example, weights, temperature) }));
  const accuracy = (threshold: number): number =>
    guesses.filter(({ right, task, sure }) => (sure >= threshold ? task : general) === right).length / guesses.length;
  const choices = Array.from({ length: 13 }, (_, index) => (2 + index) / 20);
  const best = Math.max(...choices.map(accuracy));
  return Math.max(...choices.filter((each) => accuracy(each) >= best - 0.015));
}

function accuracyOf(examples: readonly Example[], weights: Weights): string {
  const right = examples.filter((example) => guessOf(example, weights).task === example.task);
  return `${((100 * right.length) / examples.length).toFixed(1)}% of ${examples.length}`;
}

/** A file of data: for each weight the index of its step. */
function fileOf(weights: Weights, kept: ReadonlySet<number>, temperature: number, threshold: number): string {
  const bits = Buffer.alloc(bucketCount / 8);
  for (const bucket of kept) bits[bucket >> 3] = (bits[bucket >> 3] ?? 0) | (1 << (bucket & 7));
  const buckets = [...kept].toSorted((a, b) => a - b);
  const values = buckets.flatMap((bucket) => rowOf(weights, bucket));
  // The few largest are cut, so that the many small ones keep their differences.
  const sizes = values.map(Math.abs).toSorted((a, b) => a - b);
  const largest = sizes[Math.floor(sizes.length * 0.998)] ?? 1;
  const indexes = values.map(
    (each) => 7 + Math.sign(each) * Math.round(7 * Math.min(1, Math.abs(each) / largest) ** (2 / 3)),
  );
  const rows = Buffer.from(
    Array.from({ length: indexes.length / 2 }, (_, at) => ((indexes[2 * at] ?? 0) << 4) | (indexes[2 * at + 1] ?? 0)),
  );
  const about =
    "Weights of the classifier of tasks, written by scripts/train-classifier.ts: do not edit. They contain no text. " +
    "Trained on prompts of our own (scripts/classifier/templates/) and of the sources.";
  const file = {
    about,
    sources: sourceNames,
    threshold: Number(threshold.toFixed(2)),
    scale: Number((largest / 127 / temperature).toPrecision(6)),
    kept: bits.toString("base64"),
    steps,
    rows: rows.toString("base64"),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

const { values: options } = parseArgs({ options: { folder: { type: "string" } } });
if (options.folder === undefined) throw new Error("--folder DIR is missing: the folder of classifier/sources.ts");
const slots = await readSlots();
const foreign = await readSources(options.folder, slots);
const judged = new Set(
  Object.values(taskPrompts).flatMap((each) =>
    each.map((prompt) => (typeof prompt === "string" ? prompt : prompt.prompt).toLowerCase()),
  ),
);
const { rest } = splitHeldOut(foreign);
const ownSlots = await withForeignTexts(slots, options.folder, rest);
const random = randomNumbers(28);
const { rest: written, heldOut: forTuning } = split(await writtenPrompts(), 0.125, "validation");
const plain = [
  ...(await ownPrompts(ownSlots, ownPerClass)),
  ...written,
  ...crossedPrompts(ownSlots, crossedCount, random),
];
const own = withWrappers(
  plain.filter(({ prompt }) => !judged.has(prompt.toLowerCase())),
  wrappedShare,
  slots,
  random,
);
const { rest: trained, heldOut: validation } = split(rest, 0.125, "validation");
console.log(`${foreign.length} foreign prompts, ${rest.length} of them to learn from; ${own.length} of our own`);

const learned = examplesOf([...withWrappers(trained, wrappedShare, slots, random), ...own]);
const tuning = examplesOf([...validation, ...withWrappers(forTuning, 1, slots, random)]);
const all = train(learned, () => true);
console.log(`validation, all features: ${accuracyOf(tuning, all)}`);
const kept = influential(learned, all, keptBuckets);
const few = train(learned, (bucket) => kept.has(bucket));
const temperature = temperatureOf(tuning, few);
const threshold = thresholdOf(tuning, few, temperature);
console.log(
  `validation, kept features: ${accuracyOf(tuning, few)}; temperature ${temperature}, threshold ${threshold}`,
);
// What was used for tuning is learned from, too.
const everything = withWrappers([...rest, ...forTuning], wrappedShare, slots, random);
const final = train(examplesOf([...everything, ...own]), (bucket) => kept.has(bucket));
await writeFile(target, fileOf(final, kept, temperature, threshold));
