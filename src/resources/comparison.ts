import { defineResource } from "./definition.ts";
import { snaked, snakedOnly } from "../orchestrator/util/defined.ts";
import type { Change } from "../orchestrator/api/facade.ts";
import type { Eval } from "../orchestrator/api/facade-compare.ts";

/** Characters of each prompt; the comparison has the whole prompt. */
const shownCharacters = 200;

export const comparisons = defineResource({
  name: "comparisons",
  title: "Comparisons",
  description: "Comparisons of models, newest first: prompt, models, winner.",
  uri: "ollm://comparisons",
  read: async (_variables, { orchestrator, caller }) => ({
    comparisons: (await orchestrator.comparisons.list(caller)).map((each) => ({
      ...snakedOnly(each, ["id", "createdAt", "task", "winner"]),
      prompt: each.prompt.slice(0, shownCharacters),
      models: each.results.map(({ model }) => model),
    })),
  }),
});

export const comparison = defineResource({
  name: "comparison",
  title: "Comparison",
  description: "Answers of several models to one prompt, with figures, order of execution, judgement and winner.",
  uri: "ollm://comparisons/{id}",
  async read(variables, { orchestrator, caller }) {
    const found = await orchestrator.comparisons.get(caller, variables["id"] ?? "");
    return {
      ...snaked(found),
      results: found.results.map(({ engine, text, ...result }) => ({
        ...snaked(result),
        engine: engine === "" ? undefined : engine,
        text: result.error === undefined ? text : undefined,
      })),
    };
  },
  list: async ({ orchestrator, caller }) =>
    (await orchestrator.comparisons.list(caller)).map(({ id }) => ({ uri: `ollm://comparisons/${id}`, name: id })),
});

const isTouchedBy = (change: Change): boolean => change.kind === "job" && change.id.startsWith("eval-");

export const evals = defineResource({
  name: "evals",
  title: "Evals",
  description: "Sets of cases that models were asked, newest first: models, how many answers there are.",
  uri: "ollm://evals",
  isTouchedBy,
  read: async (_variables, { orchestrator, caller }) => ({
    evals: (await orchestrator.comparisons.evals(caller)).map(headData),
  }),
});

export const evalEntry = defineResource({
  name: "eval",
  title: "Eval",
  description:
    "How models did on a set of cases: by task quality, time, memory, cost; which is better; what was missed.",
  uri: "ollm://evals/{id}",
  isTouchedBy,
  async read(variables, { orchestrator, caller }) {
    const found = await orchestrator.comparisons.getEval(caller, variables["id"] ?? "");
    return {
      ...headData(found),
      rows: found.rows.map(snaked),
      verdicts: found.verdicts,
      misses: found.misses,
    };
  },
  list: async ({ orchestrator, caller }) =>
    (await orchestrator.comparisons.evals(caller)).map(({ id }) => ({ uri: `ollm://evals/${id}`, name: id })),
});

function headData({ rows: _rows, verdicts: _verdicts, misses: _misses, ...head }: Eval) {
  return { ...snaked(head), answers: head.cases * head.models.length };
}
