import { defineResource } from "./definition.ts";
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
      id: each.id,
      created_at: each.createdAt,
      prompt: each.prompt.slice(0, shownCharacters),
      task: each.task,
      models: each.results.map(({ model }) => model),
      winner: each.winner,
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
      id: found.id,
      created_at: found.createdAt,
      prompt: found.prompt,
      files: found.files,
      task: found.task,
      results: found.results.map((result) => ({
        model: result.model,
        engine: result.engine === "" ? undefined : result.engine,
        text: result.error === undefined ? result.text : undefined,
        finish_reason: result.finishReason,
        prompt_tokens: result.promptTokens,
        completion_tokens: result.completionTokens,
        tokens_per_second: result.tokensPerSecond,
        first_token_ms: result.firstTokenMs,
        total_ms: result.totalMs,
        load_ms: result.loadMs,
        memory_bytes: result.memoryBytes,
        cost: result.cost,
        runs: result.runs,
        is_contended: result.isContended,
        error: result.error,
      })),
      order: found.order,
      judgement: found.judgement,
      notes: found.notes,
      winner: found.winner,
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
