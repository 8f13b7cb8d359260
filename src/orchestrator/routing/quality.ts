import * as z from "zod";

/** What one request showed of the quality of its answers: all models of a comparison, or the one that answered. */
export interface Observation {
  readonly task: string;
  /** From 0 (useless) to 1 (as good as can be). */
  readonly scores: readonly { readonly model: string; readonly score: number }[];
  /** How much it counts, at most 1: 1 for a judgement about the answer, less for a hint such as "it was not cut off". */
  readonly weight: number;
}

/** Sums, never a log: its size is bounded by `maxTasks` × `maxModels`. Names are free text. */
export const qualityStateSchema = z.object({
  tasks: z.array(
    z.object({
      task: z.string(),
      /** Those learned last come last. */
      models: z.array(
        z.object({
          model: z.string(),
          /** Sum of the weights. */
          answers: z.number().positive(),
          /** Weighted sum of the scores. */
          sum: z.number().nonnegative(),
        }),
      ),
    }),
  ),
});

export type QualityState = z.infer<typeof qualityStateSchema>;
type Evidence = QualityState["tasks"][number]["models"][number];

export const nothingLearned: QualityState = { tasks: [] };

export interface Quality {
  /** Expected score, from 0 to 1. */
  readonly mean: number;
  /** Half of the 90 % interval around it. */
  readonly margin: number;
  /** How many answers it rests on, beside the prior: the sum of their weights. */
  readonly answers: number;
}

/** A model that may go first. */
export interface Contender {
  readonly model: string;
  /** It may be tried to learn about it: it is loaded, and the request is not in a hurry. */
  readonly mayExplore?: boolean;
}

export interface QualityOrder {
  /** Positions among the contenders, the first to try first. */
  readonly order: readonly number[];
  /** Why the first goes first: nothing speaks against the given order, evidence does, or it is tried to learn about it. */
  readonly because: "given" | "learned" | "explored";
}

const maxTasks = 128;
const maxModels = 256;
const longestName = 512;

/** Answers that the prior is worth: how many it takes to move a model's overall mean half way. */
const priorAnswers = 20;
/** Answers that a model's overall mean is worth for one task. */
const overallAnswers = 40;
/** Half of the 90 % interval of a normal distribution, in standard deviations. */
const ninety = 1.645;

/** The expected score of the model at this position of the family order, from 0, while nothing is known of its answers. */
export function priorAt(position: number): number {
  return 0.7 - (0.2 * position) / (position + 8);
}

/** The state with one more observation. What can't be used of it (no number, no weight) changes nothing. */
export function learn(state: QualityState, { task, scores, weight: given }: Observation): QualityState {
  const weight = Math.min(1, given);
  const usable = scores.filter(({ score }) => Number.isFinite(score));
  if (usable.length === 0 || !(weight > 0)) return state;
  const key = task.slice(0, longestName);
  const models = new Map(state.tasks.find((each) => each.task === key)?.models.map((each) => [each.model, each]));
  for (const { model: name, score } of usable) {
    const model = name.slice(0, longestName);
    const { answers, sum } = models.get(model) ?? { answers: 0, sum: 0 };
    // Learned last comes last.
    models.delete(model);
    models.set(model, { model, answers: answers + weight, sum: sum + weight * Math.min(1, Math.max(0, score)) });
  }
  const others = state.tasks.filter((each) => each.task !== key);
  return { tasks: [...others, { task: key, models: [...models.values()].slice(-maxModels) }].slice(-maxTasks) };
}

/** What is expected of the model's answers to this task; `prior` is the expected score while nothing is known. */
export function qualityOf(state: QualityState, task: string, model: string, prior: number): Quality {
  const { overall, byTask } = indexOf(state);
  const key = model.slice(0, longestName);
  const all = overall.get(key);
  const here = byTask.get(task.slice(0, longestName))?.get(key);
  const overallMean = (prior * priorAnswers + (all?.sum ?? 0)) / (priorAnswers + (all?.answers ?? 0));
  const strength = Math.min(overallAnswers, priorAnswers + (all?.answers ?? 0));
  const answers = here?.answers ?? 0;
  const mean = (overallMean * strength + (here?.sum ?? 0)) / (strength + answers);
  return { mean, margin: ninety * Math.sqrt((mean * (1 - mean)) / (strength + answers + 1)), answers };
}

/**
 * The order in which to try the contenders, which come in the order that holds without evidence. With `random` (from 0 to
 * 1), one that may be explored may go first to learn about it.
 */
export function orderByQuality(
  state: QualityState,
  task: string,
  contenders: readonly Contender[],
  random?: number,
): QualityOrder {
  const means = contenders.map(({ model }, position) => qualityOf(state, task, model, priorAt(position)).mean);
  const order = means.map((_, position) => position).toSorted((a, b) => (means[b] ?? 0) - (means[a] ?? 0) || a - b);
  const explored =
    random !== undefined && random < 0.02
      ? contenders.findIndex(({ mayExplore }, at) => mayExplore === true && at !== order[0])
      : -1;
  if (explored >= 0) {
    return { order: [explored, ...order.filter((position) => position !== explored)], because: "explored" };
  }
  return { order, because: (order[0] ?? 0) === 0 ? "given" : "learned" };
}

interface Index {
  readonly byTask: ReadonlyMap<string, ReadonlyMap<string, Evidence>>;
  /** Over all tasks. */
  readonly overall: ReadonlyMap<string, { answers: number; sum: number }>;
}

/** By state, which never changes: routing asks for a thousand models at each request. */
const indexes = new WeakMap<QualityState, Index>();

function indexOf(state: QualityState): Index {
  const known = indexes.get(state);
  if (known !== undefined) return known;
  const overall = new Map<string, { answers: number; sum: number }>();
  for (const { models } of state.tasks) {
    for (const { model, answers, sum } of models) {
      const all = overall.get(model);
      if (all === undefined) overall.set(model, { answers, sum });
      else {
        all.answers += answers;
        all.sum += sum;
      }
    }
  }
  const byTask = new Map(
    state.tasks.map(({ task, models }) => [task, new Map(models.map((each) => [each.model, each]))]),
  );
  const index = { byTask, overall };
  indexes.set(state, index);
  return index;
}
