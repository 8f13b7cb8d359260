import type { QualityState } from "./quality-state.ts";
import { getOrInsert } from "../util/values.ts";

/** Expected score of a typical model before anything is known. */
export const typicalScore = 0.6;
/** Answers that `typicalScore` is worth for the level of a task. */
const typicalAnswers = 20;
/**
 * The level is learned from so many models with at least so many answers: what a single model gets wrong says nothing of
 * how hard the task is, and would excuse it. Sums of weights are rounded: 0.1 six times and 0.5 make less than 1 in some
 * orders, and what is learned may not depend on the order.
 */
const levelled = { models: 2, answers: 1 - 1e-6 } as const;
/** Variance between models, over all tasks. */
const modelVariance = 0.15 ** 2;
/** Variance of a model between tasks, and how many models' evidence that assumption is worth. */
const taskVariance = 0.03 ** 2;
const taskModels = 3;
/** Variance of one score: by itself, and against its comparison, which had the same question. */
const noise = { single: 0.22, compared: 0.17 } as const;
/** Rounds in which the levels of tasks and of models are found. */
const rounds = 6;

type Matrix = readonly number[][];

/** What was seen of a model at one task: its mean against the level of the task, and how precise it is. */
interface Seen {
  readonly task: number;
  value: number;
  readonly precision: number;
  readonly answers: number;
}

/**
 * The evidence of one model. Its expected scores at all tasks are one multivariate normal distribution: what all tasks
 * have in common, and what they have in common with each other (`covariance`).
 */
export interface ModelEvidence {
  /** Sums of the weights over all tasks. */
  readonly single: number;
  readonly compared: number;
  readonly seen: readonly Seen[];
  /** Over all tasks, against a typical model. */
  level: number;
  solved?: ReturnType<typeof solve>;
}

interface Fit {
  readonly tasks: ReadonlyMap<string, number>;
  readonly models: ReadonlyMap<string, ModelEvidence>;
  /** By task: the score of a typical model. */
  readonly levels: readonly number[];
  /** Between tasks, of how a model differs from its own level. */
  readonly covariance: Matrix;
}

/** The fit is kept for the newest state: routing asks for a thousand models at each request. States never change. */
let newest: { readonly state: QualityState; readonly fit: Fit } | undefined;

export function fitOf(state: QualityState): Fit {
  if (newest?.state !== state) newest = { state, fit: fitted(state) };
  return newest.fit;
}

/** One model at one task, with where its evidence is collected. */
interface Place {
  readonly cell: QualityState["tasks"][number]["models"][number];
  readonly evidence: ModelEvidence;
  readonly seen: Seen;
}

function fitted(state: QualityState): Fit {
  const models = new Map<string, { single: number; compared: number; level: number; readonly seen: Seen[] }>();
  let isSingle = false;
  const places = state.tasks.map((each, task) =>
    each.models.map((cell): Place => {
      const { model, single, compared } = cell;
      const evidence = getOrInsert(models, model, () => ({ single: 0, compared: 0, seen: [], level: 0 }));
      evidence.single += single.answers;
      evidence.compared += compared.answers;
      isSingle ||= single.answers > 0;
      const precision = single.answers / noise.single + compared.answers / noise.compared;
      const seen = { task, value: 0, precision, answers: single.answers + compared.answers };
      evidence.seen.push(seen);
      return { cell, evidence, seen };
    }),
  );
  const found = [...models.values()];
  const levels = places.map(() => typicalScore);
  // The places of comparisons don't depend on the levels of tasks.
  for (let round = 0; round < (isSingle ? rounds : 2); round += 1) findLevels(places, found, levels);
  const tasks = new Map(state.tasks.map(({ task }, at) => [task, at]));
  return { tasks, models, levels, covariance: covarianceOf(found, places.length) };
}

/** One round: the levels of tasks from those of models, then those of models from what was seen of them. */
function findLevels(places: readonly (readonly Place[])[], models: readonly ModelEvidence[], levels: number[]): void {
  for (const [task, each] of places.entries()) {
    let sum = typicalAnswers * typicalScore;
    let answers = typicalAnswers;
    for (const { cell, evidence, seen } of each) {
      sum += cell.single.sum + cell.compared.sum - seen.answers * evidence.level;
      answers += seen.answers;
    }
    const isLevelled = each.filter(({ seen }) => seen.answers >= levelled.answers).length >= levelled.models;
    const level = isLevelled ? sum / answers : typicalScore;
    levels[task] = level;
    for (const { cell, seen } of each) {
      const { single, compared } = cell;
      const ahead = (single.sum - single.answers * level) / noise.single + compared.ahead / noise.compared;
      seen.value = ahead / seen.precision;
    }
  }
  for (const evidence of models) {
    let sum = 0;
    let weights = 1 / modelVariance;
    for (const { value, precision } of evidence.seen) {
      const weight = 1 / (taskVariance + 1 / precision);
      sum += weight * value;
      weights += weight;
    }
    evidence.level = sum / weights;
  }
}

/**
 * Which tasks a model is good at together: a step of expectation maximization from independent tasks, under an inverse
 * Wishart prior. Models that are good at mathematics are good at physics; evidence of one counts for the other.
 */
function covarianceOf(models: readonly ModelEvidence[], size: number): Matrix {
  const covariance = Array.from({ length: size }, () => Array.from({ length: size }, () => 0));
  const add = (a: number, b: number, value: number) => {
    const row = covariance[a];
    if (row !== undefined) row[b] = (row[b] ?? 0) + value;
  };
  for (let task = 0; task < size; task += 1) add(task, task, (taskModels + models.length) * taskVariance);
  for (const { seen, level } of models) {
    const shares = seen.map(({ precision }) => taskVariance / (taskVariance + 1 / precision));
    const deviations = seen.map(({ value }, at) => (shares[at] ?? 0) * (value - level));
    for (const [at, { task }] of seen.entries()) {
      add(task, task, -taskVariance * (shares[at] ?? 0));
      for (const [other, { task: otherTask }] of seen.entries()) {
        add(task, otherTask, (deviations[at] ?? 0) * (deviations[other] ?? 0));
      }
    }
  }
  for (const row of covariance)
    for (let at = 0; at < size; at += 1) row[at] = (row[at] ?? 0) / (taskModels + models.length);
  return covariance;
}

/** How the model differs from a typical one at the task, if `prior` is expected without evidence. */
export function differenceAt(fit: Fit, task: number | undefined, evidence: ModelEvidence, prior: number): number {
  const { ofSeen, ofOne } = (evidence.solved ??= solve(fit, evidence));
  let difference = prior;
  for (const [at, { task: other }] of evidence.seen.entries()) {
    difference += between(fit, task, other) * ((ofSeen[at] ?? 0) - prior * (ofOne[at] ?? 0));
  }
  return difference;
}

/** Variance of the expected score at the task. */
export function varianceAt(fit: Fit, task: number | undefined, evidence: ModelEvidence | undefined): number {
  const before = modelVariance + (task === undefined ? taskVariance : (fit.covariance[task]?.[task] ?? 0));
  if (evidence === undefined) return before;
  const { factor, variances } = (evidence.solved ??= solve(fit, evidence));
  return getOrInsert(variances, task, () => {
    const shared = evidence.seen.map(({ task: other }) => between(fit, task, other));
    forward(factor, shared);
    return Math.max(
      0,
      shared.reduce((left, value) => left - value * value, before),
    );
  });
}

function between(fit: Fit, a: number | undefined, b: number): number {
  return modelVariance + (a === undefined ? 0 : (fit.covariance[a]?.[b] ?? 0));
}

function solve(fit: Fit, { seen }: ModelEvidence) {
  // With loops and plain arrays: it runs for each model after each observation.
  const factor: number[][] = [];
  for (const { task, precision } of seen) {
    const row: number[] = [];
    for (let at = 0; at < factor.length; at += 1) row.push(between(fit, task, seen[at]?.task ?? task));
    row.push(between(fit, task, task) + 1 / precision);
    factor.push(row);
  }
  decompose(factor);
  const inverted = (values: number[]) => {
    forward(factor, values);
    backward(factor, values);
    return values;
  };
  return {
    /** Lower triangle of the Cholesky factor of the covariance of what was seen. */
    factor,
    /** That covariance, inverted, times what was seen, and times one. */
    ofSeen: inverted(seen.map(({ value }) => value)),
    ofOne: inverted(seen.map(() => 1)),
    variances: new Map<number | undefined, number>(),
  };
}

/** Cholesky's, in place: the lower triangle becomes its factor. */
function decompose(rows: Matrix): void {
  for (const [i, row] of rows.entries()) {
    for (let j = 0; j <= i; j += 1) {
      const other = rows[j] ?? row;
      let sum = row[j] ?? 0;
      for (let at = 0; at < j; at += 1) sum -= (row[at] ?? 0) * (other[at] ?? 0);
      row[j] = i === j ? Math.sqrt(Math.max(Number.EPSILON, sum)) : sum / (other[j] ?? 1);
    }
  }
}

function forward(factor: Matrix, values: number[]): void {
  for (const [i, row] of factor.entries()) {
    let sum = values[i] ?? 0;
    for (let at = 0; at < i; at += 1) sum -= (row[at] ?? 0) * (values[at] ?? 0);
    values[i] = sum / (row[i] ?? 1);
  }
}

function backward(factor: Matrix, values: number[]): void {
  for (let i = factor.length - 1; i >= 0; i -= 1) {
    let sum = values[i] ?? 0;
    for (let at = i + 1; at < factor.length; at += 1) sum -= (factor[at]?.[i] ?? 0) * (values[at] ?? 0);
    values[i] = sum / (factor[i]?.[i] ?? 1);
  }
}
