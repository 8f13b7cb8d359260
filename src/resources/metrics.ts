import type { Figures, MoneyReport, MoneySum, NamedFigures } from "../orchestrator/api/facade-metrics.ts";
import { defineResource } from "./definition.ts";

const maxDays = 100;
/** Samples of the memory, as far apart as their number asks. */
const maxSamples = 300;

export const metrics = defineResource({
  name: "metrics",
  title: "Metrics",
  description:
    "Requests, times, tokens and errors by model, engine, profile, client, task and day; unloads, memory, advice, and money " +
    "saved with its rows.",
  uri: "ollm://metrics",
  isTouchedBy: ({ kind }) => kind === "metrics",
  async read(_variables, { orchestrator, caller, worded }) {
    const [report, money, advice, unused] = await Promise.all([
      orchestrator.metrics.report(caller),
      orchestrator.metrics.money(caller),
      orchestrator.metrics.advice(caller),
      orchestrator.metrics.unused(caller),
    ]);
    return {
      since: report.since,
      total: figuresData(report.total),
      by: {
        model: report.by.model.map(namedData),
        engine: report.by.engine.map(namedData),
        profile: report.by.profile.map(namedData),
        client: report.by.client.map(namedData),
        task: report.by.task.map(namedData),
        day: report.by.day.slice(-maxDays).map(namedData),
      },
      connections: report.connections,
      evictions: report.evictions,
      memory: spread(report.memory, maxSamples).map(({ at, availableBytes, modelBytes, byType }) => ({
        at,
        available_bytes: availableBytes,
        model_bytes: modelBytes,
        by_type: byType,
      })),
      money: moneyData(money),
      advice: await Promise.all(advice.map(async ({ next, ...found }) => ({ ...found, next: await worded(next) }))),
      // Not in use in any way, for a day or longer.
      unused: unused.map(({ name, engine, sizeBytes, unusedDays, lastUsedAt }) => ({
        name,
        engine,
        size_bytes: sizeBytes,
        unused_days: unusedDays,
        last_used_at: lastUsedAt,
      })),
    };
  },
});

/** At most so many of them, evenly, with the last. */
function spread<Item>(items: readonly Item[], most: number): readonly Item[] {
  const step = Math.ceil(items.length / most);
  return items.filter((_, index) => (items.length - 1 - index) % step === 0);
}

function namedData({ name, history, ...figures }: NamedFigures) {
  return { name, ...figuresData(figures), history };
}

function figuresData(figures: Figures) {
  return {
    requests: figures.requests,
    answered: figures.answered,
    failed: figures.failed,
    cancelled: figures.cancelled,
    errors: figures.errors,
    fallbacks: figures.fallbacks,
    queue_ms: figures.queueMs,
    load_ms: figures.loadMs,
    first_token_ms: figures.firstTokenMs,
    total_ms: figures.totalMs,
    prompt_tokens: figures.promptTokens,
    cached_prompt_tokens: figures.cachedPromptTokens,
    completion_tokens: figures.completionTokens,
    tokens_per_second: figures.tokensPerSecond,
    last_used_at: figures.lastUsedAt,
  };
}

function moneyData({ currency, formula, reference, today, month, total, rows }: MoneyReport) {
  return {
    currency,
    formula,
    reference: {
      model: reference.model,
      prompt_per_million: reference.promptPerMillion,
      answer_per_million: reference.answerPerMillion,
      as_of: reference.asOf,
    },
    today: sumData(today),
    month: sumData(month),
    total: sumData(total),
    rows: rows.map(({ pricePerMillion, amount, currency: other, ...row }) => ({
      ...row,
      price_per_million: pricePerMillion,
      amount,
      currency: other,
    })),
  };
}

function sumData({ total, saved, spent, localTokens, neverSentTokens, otherSpent }: MoneySum) {
  return {
    total,
    saved,
    spent,
    local_tokens: localTokens,
    never_sent_tokens: neverSentTokens,
    other_spent: otherSpent,
  };
}
