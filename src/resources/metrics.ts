import type { MoneyReport } from "../orchestrator/api/facade-metrics.ts";
import { snaked } from "../orchestrator/util/defined.ts";
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
      total: snaked(report.total),
      by: {
        model: report.by.model.map(snaked),
        engine: report.by.engine.map(snaked),
        profile: report.by.profile.map(snaked),
        client: report.by.client.map(snaked),
        task: report.by.task.map(snaked),
        day: report.by.day.slice(-maxDays).map(snaked),
      },
      connections: report.connections,
      evictions: report.evictions,
      memory: spread(report.memory, maxSamples).map(snaked),
      money: moneyData(money),
      advice: await Promise.all(advice.map(async ({ next, ...found }) => ({ ...found, next: await worded(next) }))),
      // Not in use in any way, for a day or longer.
      unused: unused.map(snaked),
    };
  },
});

/** At most so many of them, evenly, with the last. */
function spread<Item>(items: readonly Item[], most: number): readonly Item[] {
  const step = Math.ceil(items.length / most);
  return items.filter((_, index) => (items.length - 1 - index) % step === 0);
}

function moneyData({ reference, today, month, total, rows, ...report }: MoneyReport) {
  return {
    ...report,
    reference: snaked(reference),
    today: snaked(today),
    month: snaked(month),
    total: snaked(total),
    rows: rows.map(snaked),
  };
}
