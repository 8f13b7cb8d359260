import { type Advice, type Figures, type Metrics, type MoneySum, metricDimensions } from "../api/facade-metrics.ts";
import type { CallerContext } from "../api/types.ts";

interface MetricsParts {
  readonly now: () => number;
}

/** Counts what this program does. */
export class MetricsStore implements Metrics {
  readonly #parts: MetricsParts;

  constructor(parts: MetricsParts) {
    this.#parts = parts;
  }

  async report(_caller: CallerContext): ReturnType<Metrics["report"]> {
    return {
      since: new Date(this.#parts.now()).toISOString(),
      total: nothing,
      by: Object.fromEntries(metricDimensions.map((name) => [name, []])) as never,
      connections: {},
      evictions: [],
      memory: [],
    };
  }

  async money(_caller: CallerContext): ReturnType<Metrics["money"]> {
    const reference = { model: "none", promptPerMillion: 0, answerPerMillion: 0 };
    return { currency: "USD", formula: "", reference, today: noMoney, month: noMoney, total: noMoney, rows: [] };
  }

  async advice(_caller: CallerContext): Promise<readonly Advice[]> {
    return [];
  }
}

const none = { count: 0, p50: 0, p95: 0 };
const noMoney: MoneySum = { total: 0, saved: 0, spent: 0, localTokens: 0, neverSentTokens: 0 };
const nothing: Figures = {
  requests: 0,
  answered: 0,
  errors: {},
  fallbacks: 0,
  queueMs: none,
  loadMs: none,
  firstTokenMs: none,
  totalMs: none,
  promptTokens: 0,
  cachedPromptTokens: 0,
  completionTokens: 0,
  tokensPerSecond: 0,
};
