import { type Advice, type Figures, type Metrics, metricDimensions } from "../api/facade-metrics.ts";
import type { CallerContext } from "../api/types.ts";
import type { Settings } from "../config/schema.ts";
import { moneyReport, referenceOf } from "./savings.ts";

interface MetricsParts {
  readonly now: () => number;
  readonly settings: () => Pick<Settings, "savings">;
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
    return moneyReport([], referenceOf(this.#parts.settings()), this.#parts.now());
  }

  async advice(_caller: CallerContext): Promise<readonly Advice[]> {
    return [];
  }
}

const none = { count: 0, p50: 0, p95: 0 };
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
