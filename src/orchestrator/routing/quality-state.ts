import * as z from "zod";

/** What one request showed of the quality of its answers: all models of a comparison, or the one that answered. */
export const observationSchema = z.object({
  task: z.string(),
  /** From 0 (useless) to 1 (as good as can be). */
  scores: z.array(z.object({ model: z.string(), score: z.number() })).readonly(),
  /** How much it counts, at most 1: 1 for a judgement about the answer, less for a hint such as "it was not cut off". */
  weight: z.number(),
});
export type Observation = z.output<typeof observationSchema>;

const weights = z.number().nonnegative();

/**
 * Sums, never a log: its size is bounded by `maxTasks` × `maxModels`. The order in which observations were learned doesn't
 * matter within these bounds. Names are free text.
 */
export const qualityStateSchema = z.object({
  tasks: z.array(
    z.object({
      task: z.string(),
      /** Those learned last come last. */
      models: z.array(
        z.object({
          model: z.string(),
          /** Answers judged by themselves: the sum of their weights, and of the weighted scores. */
          single: z.object({ answers: weights, sum: weights }),
          /** Those of comparisons; `ahead` sums by how much they were better than their comparison. */
          compared: z.object({ answers: weights, sum: weights, ahead: z.number() }),
        }),
      ),
    }),
  ),
});

export type QualityState = z.infer<typeof qualityStateSchema>;
type Cell = QualityState["tasks"][number]["models"][number];

export const nothingLearned: QualityState = { tasks: [] };

const maxTasks = 128;
const maxModels = 256;
const longestName = 512;
/** Less than this is the rounding error of what was taken back. */
const leastAnswers = 1e-6;

/** The state with one more observation. What can't be used of it (no number, no weight) changes nothing. */
export function learn(state: QualityState, observation: Observation): QualityState {
  const { task, weight: given } = observation;
  const weight = Math.min(1, given);
  const usable = usableScores(observation);
  if (usable.size === 0 || !(weight > 0)) return state;
  const average = [...usable.values()].reduce((sum, score) => sum + score, 0) / usable.size;
  return withModels(state, task, (models) => {
    const cells = new Map(models.map((each) => [each.model, each]));
    for (const [model, score] of usable) {
      const cell = cells.get(model) ?? newCell(model);
      // Learned last comes last.
      cells.delete(model);
      cells.set(
        model,
        usable.size > 1
          ? added(cell, { compared: { answers: weight, sum: weight * score, ahead: weight * (score - average) } })
          : added(cell, { single: { answers: weight, sum: weight * score } }),
      );
    }
    return [...cells.values()];
  });
}

/** The state without an observation that was learned, as far as it is still there. */
export function unlearn(state: QualityState, observation: Observation): QualityState {
  const { models = [] } = learn(nothingLearned, observation).tasks[0] ?? {};
  const taken = new Map(models.map((each) => [each.model, each]));
  if (!state.tasks.some(({ task }) => task === nameOf(observation.task))) return state;
  return withModels(state, observation.task, (cells) =>
    cells.map((cell) => added(cell, scaled(taken.get(cell.model) ?? newCell(cell.model), -1))),
  );
}

/** The sum of two states. */
export function combined(a: QualityState, b: QualityState): QualityState {
  let sum = a;
  for (const { task, models } of b.tasks) {
    sum = withModels(sum, task, (cells) => {
      const found = new Map(cells.map((each) => [each.model, each]));
      for (const cell of models) found.set(cell.model, added(found.get(cell.model) ?? newCell(cell.model), cell));
      return [...found.values()];
    });
  }
  return sum;
}

/** The state with the answers of some models of one task scaled down to at most so many. */
export function faded(
  state: QualityState,
  {
    task,
    models,
    mostAnswers,
  }: { readonly task: string; readonly models: readonly string[]; readonly mostAnswers: number },
): QualityState {
  const names = new Set(models.map(nameOf));
  return withModels(state, task, (cells) =>
    cells.map((cell) => {
      const answers = cell.single.answers + cell.compared.answers;
      if (answers <= mostAnswers || !names.has(cell.model)) return cell;
      return { model: cell.model, ...scaled(cell, mostAnswers / answers) };
    }),
  );
}

/** Days after which an answer counts half: a model that was left is tried again some months later. */
const halfLifeDays = 90;

/** The state so many days later. */
export function aged({ tasks }: QualityState, days: number): QualityState {
  const factor = 0.5 ** (days / halfLifeDays);
  return {
    tasks: tasks.map(({ task, models }) => ({
      task,
      models: models.map((cell) => ({ model: cell.model, ...scaled(cell, factor) })),
    })),
  };
}

/** Changes the models of one task. Models without answers are left out, and tasks without models. */
function withModels(state: QualityState, task: string, change: (cells: readonly Cell[]) => readonly Cell[]) {
  const key = nameOf(task);
  const before = state.tasks.find((each) => each.task === key)?.models ?? [];
  const models = change(before).filter(({ single, compared }) => single.answers + compared.answers > 0);
  const others = state.tasks.filter((each) => each.task !== key);
  if (models.length === 0) return { tasks: others };
  return { tasks: [...others, { task: key, models: models.slice(-maxModels) }].slice(-maxTasks) };
}

function usableScores({ scores }: Observation): ReadonlyMap<string, number> {
  return new Map(
    scores.flatMap(({ model, score }) =>
      Number.isFinite(score) ? [[nameOf(model), Math.min(1, Math.max(0, score))] as const] : [],
    ),
  );
}

/** Names are cut off, so that hostile ones don't fill the disk. */
export function nameOf(name: string): string {
  return name.length > longestName ? name.slice(0, longestName) : name;
}

function newCell(model: string): Cell {
  return { model, single: { answers: 0, sum: 0 }, compared: { answers: 0, sum: 0, ahead: 0 } };
}

function added(cell: Cell, { single, compared }: Partial<Omit<Cell, "model">>): Cell {
  return {
    model: cell.model,
    single: single === undefined ? cell.single : sumOf(cell.single, single),
    compared:
      compared === undefined
        ? cell.compared
        : bounded({ ...sumOf(cell.compared, compared), ahead: cell.compared.ahead + compared.ahead }),
  };
}

/** Never less than nothing, and no sum that so many answers can't have. */
function sumOf(a: Cell["single"], b: Cell["single"]): Cell["single"] {
  const answers = a.answers + b.answers;
  if (answers < leastAnswers) return { answers: 0, sum: 0 };
  return { answers, sum: Math.min(answers, Math.max(0, a.sum + b.sum)) };
}

function bounded({ answers, sum, ahead }: Cell["compared"]): Cell["compared"] {
  return { answers, sum, ahead: answers === 0 ? 0 : Math.min(answers, Math.max(-answers, ahead)) };
}

function scaled({ single, compared }: Cell, factor: number): Omit<Cell, "model"> {
  return {
    single: { answers: factor * single.answers, sum: factor * single.sum },
    compared: { answers: factor * compared.answers, sum: factor * compared.sum, ahead: factor * compared.ahead },
  };
}
