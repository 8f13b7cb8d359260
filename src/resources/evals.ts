import type { Change } from "../orchestrator/api/facade.ts";
import type { Eval } from "../orchestrator/api/facade-compare.ts";
import { defineResource } from "./definition.ts";

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
      rows: found.rows.map((row) => ({
        task: row.task,
        model: row.model,
        right: row.right,
        scored: row.scored,
        failed: row.failed,
        undecided: row.undecided,
        quality: row.quality,
        seconds: row.seconds,
        tokens_per_second: row.tokensPerSecond,
        memory_bytes: row.memoryBytes,
        cost: row.cost,
        is_contended: row.isContended,
      })),
      verdicts: found.verdicts,
      misses: found.misses,
    };
  },
  list: async ({ orchestrator, caller }) =>
    (await orchestrator.comparisons.evals(caller)).map(({ id }) => ({ uri: `ollm://evals/${id}`, name: id })),
});

function headData({ id, name, createdAt, endedAt, isRunning, models, judge, cases, answered, decidedBy, notes }: Eval) {
  return {
    id,
    name,
    created_at: createdAt,
    ended_at: endedAt,
    is_running: isRunning,
    models,
    judge,
    cases,
    answered,
    answers: cases * models.length,
    decided_by: decidedBy,
    notes,
  };
}
