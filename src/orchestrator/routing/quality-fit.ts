import type { QualityState } from "./quality-state.ts";

/** Expected score of a typical model before anything is known. */
export const typicalScore = 0.6;
/** Answers that `typicalScore` is worth for the level of a task. */
const typicalAnswers = 20;
/** Variance between models, over all tasks. */
const modelVariance = 0.15 ** 2;
/** Variance of a model between tasks, and how many models' evidence that assumption is worth. */
const taskVariance = 0.04 ** 2;
const taskModels = 3;
/** Variance of one score: by itself, and against its comparison, which had the same question. */
const noise = { alone: 0.22, compared: 0.17 } as const;
/** Rounds in which the levels of tasks and of models are found. */
const rounds = 6;

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
  readonly alone: number;
  readonly compared: number;
  readonly seen: readonly Seen[];
  /** Over all tasks, against a typical model. */
  level: number;
  solved?: Solved;
}

interface Solved {
  /** Lower triangle of the Cholesky factor of the covariance of what was seen. */
  readonly factor: readonly Float64Array[];
  /** That covariance, inverted, times what was seen, and times one. */
  readonly ofSeen: Float64Array;
  readonly ofOne: Float64Array;
  readonly variances: Map<number | undefined, number>;
}

export interface Fit {
  readonly tasks: ReadonlyMap<string, number>;
  readonly models: ReadonlyMap<string, ModelEvidence>;
  /** By task: the score of a typical model. */
  readonly levels: Float64Array;
  /** Between tasks, of how a model differs from its own level. */
  readonly covariance: readonly Float64Array[];
}

/** By state, which never changes: routing asks for a thousand models at each request. */
const fits = new WeakMap<QualityState, Fit>();

export function fitOf(state: QualityState): Fit {
  const known = fits.get(state);
  if (known !== undefined) return known;
  const fit = fitted(state);
  fits.set(state, fit);
  return fit;
}

function fitted(state: QualityState): Fit {
  const models = new Map<string, ModelEvidence & { alone: number; compared: number; seen: Seen[] }>();
  for (const [task, each] of state.tasks.entries()) {
    for (const { model, alone, compared } of each.models) {
      const evidence = models.get(model) ?? { alone: 0, compared: 0, seen: [], level: 0 };
      models.set(model, evidence);
      evidence.alone += alone.answers;
      evidence.compared += compared.answers;
      const precision = alone.answers / noise.alone + compared.answers / noise.compared;
      if (precision > 0) evidence.seen.push({ task, value: 0, precision, answers: alone.answers + compared.answers });
    }
  }
  const levels = new Float64Array(state.tasks.length).fill(typicalScore);
  for (let round = 0; round < rounds; round += 1) findLevels(state, models, levels);
  const tasks = new Map(state.tasks.map(({ task }, at) => [task, at]));
  return { tasks, models, levels, covariance: covarianceOf([...models.values()], state.tasks.length) };
}

/** One round: the levels of tasks from those of models, then those of models from what was seen of them. */
function findLevels(state: QualityState, models: ReadonlyMap<string, ModelEvidence>, levels: Float64Array): void {
  const places = new Map<string, number>();
  for (const [task, each] of state.tasks.entries()) {
    let sum = typicalAnswers * typicalScore;
    let answers = typicalAnswers;
    for (const { model, alone, compared } of each.models) {
      const here = alone.answers + compared.answers;
      sum += alone.sum + compared.sum - here * (models.get(model)?.level ?? 0);
      answers += here;
    }
    const level = sum / answers;
    levels[task] = level;
    for (const { model, alone, compared } of each.models) {
      const place = places.get(model) ?? 0;
      const seen = models.get(model)?.seen[place];
      if (seen?.task !== task) continue;
      places.set(model, place + 1);
      const difference = (alone.sum - alone.answers * level) / noise.alone + compared.ahead / noise.compared;
      seen.value = difference / seen.precision;
    }
  }
  for (const evidence of models.values()) {
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
function covarianceOf(models: readonly ModelEvidence[], size: number): readonly Float64Array[] {
  const covariance = Array.from({ length: size }, () => new Float64Array(size));
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
  const known = variances.get(task);
  if (known !== undefined) return known;
  const shared = Float64Array.from(evidence.seen, ({ task: other }) => between(fit, task, other));
  forward(factor, shared);
  const variance = Math.max(
    0,
    shared.reduce((left, value) => left - value * value, before),
  );
  variances.set(task, variance);
  return variance;
}

function between(fit: Fit, a: number | undefined, b: number): number {
  return modelVariance + (a === undefined ? 0 : (fit.covariance[a]?.[b] ?? 0));
}

function solve(fit: Fit, { seen }: ModelEvidence): Solved {
  const factor = seen.map(({ task: a, precision }, row) =>
    Float64Array.from(seen.slice(0, row + 1), ({ task: b }, column) => {
      return between(fit, a, b) + (row === column ? 1 / precision : 0);
    }),
  );
  decompose(factor);
  const inverted = (values: Float64Array) => {
    forward(factor, values);
    backward(factor, values);
    return values;
  };
  return {
    factor,
    ofSeen: inverted(Float64Array.from(seen, ({ value }) => value)),
    ofOne: inverted(new Float64Array(seen.length).fill(1)),
    variances: new Map(),
  };
}

/** Cholesky's, in place: the lower triangle becomes its factor. */
function decompose(rows: readonly Float64Array[]): void {
  for (const [i, row] of rows.entries()) {
    for (let j = 0; j <= i; j += 1) {
      const other = rows[j] ?? row;
      let sum = row[j] ?? 0;
      for (let at = 0; at < j; at += 1) sum -= (row[at] ?? 0) * (other[at] ?? 0);
      row[j] = i === j ? Math.sqrt(Math.max(Number.EPSILON, sum)) : sum / (other[j] ?? 1);
    }
  }
}

function forward(factor: readonly Float64Array[], values: Float64Array): void {
  for (const [i, row] of factor.entries()) {
    let sum = values[i] ?? 0;
    for (let at = 0; at < i; at += 1) sum -= (row[at] ?? 0) * (values[at] ?? 0);
    values[i] = sum / (row[i] ?? 1);
  }
}

function backward(factor: readonly Float64Array[], values: Float64Array): void {
  for (let i = factor.length - 1; i >= 0; i -= 1) {
    let sum = values[i] ?? 0;
    for (let at = i + 1; at < factor.length; at += 1) sum -= (factor[at]?.[i] ?? 0) * (values[at] ?? 0);
    values[i] = sum / (factor[i]?.[i] ?? 1);
  }
}
