import type { MoneyTally } from "../../src/orchestrator/api/cost.ts";
import type { RequestRow } from "../../src/orchestrator/api/events.ts";
import type { Figures, Metrics, NamedFigures } from "../../src/orchestrator/api/facade-metrics.ts";
import { moneyReport } from "../../src/orchestrator/views/savings.ts";

const times = (p50: number, p95: number) => ({ count: 10, p50, p95 });

/** Ten requests, one of which failed. */
const someFigures: Figures = {
  requests: 10,
  answered: 8,
  failed: 1,
  cancelled: 1,
  errors: { load_failed: 1 },
  fallbacks: 1,
  queueMs: times(1, 20),
  loadMs: { count: 1, p50: 2_000, p95: 2_000 },
  firstTokenMs: times(120, 800),
  totalMs: times(1_500, 6_000),
  failedMs: { count: 0, p50: 0, p95: 0 },
  comparedMs: { count: 0, p50: 0, p95: 0 },
  promptTokens: 120_000,
  cachedPromptTokens: 20_000,
  restoredPromptTokens: 0,
  completionTokens: 4_000,
  tokensPerSecond: 41.5,
  lastUsedAt: "2026-11-23T10:00:00.000Z",
};

function someNamed(name: string, given: Partial<NamedFigures> = {}): NamedFigures {
  return { name, ...someFigures, history: [1, 0, 3, 6], ...given };
}

const counts: readonly MoneyTally[] = [
  {
    day: "2026-11-01",
    task: "summarization",
    client: "claude-code",
    promptTokens: 100_000,
    completionTokens: 3_000,
    fileTokens: 90_000,
    paid: [],
  },
  {
    day: "2026-11-23",
    task: "code",
    client: "=cmd|' /C calc'!A0",
    promptTokens: 20_000,
    completionTokens: 1_000,
    fileTokens: 0,
    paid: [
      { currency: "USD", nanos: 12_345_678, tokens: 2_000 },
      { currency: "CNY", nanos: 500_000_000, tokens: 900 },
    ],
  },
];
const prices = { model: "some-model", promptPerMillion: 2, answerPerMillion: 10, currency: "USD", asOf: "2026-11-01" };

/** One that a paid model answered after another had failed, and one that failed, of a hostile client; newest first. */
const requestsOf = (model: string): readonly RequestRow[] => [
  {
    id: "r-2",
    startedAt: "2026-11-23T11:59:00.000Z",
    client: "claude-code",
    task: "code",
    profile: "code",
    model,
    engine: "ollama",
    reason: "loaded, fits code profile",
    via: "door",
    outcome: "answered",
    attempts: [
      { model: "other:1b", engine: "ollama", count: 1, error: "load_failed" },
      { model, engine: "ollama", count: 1 },
    ],
    queueMs: 5,
    loadMs: 0,
    firstTokenMs: 120,
    totalMs: 1_500,
    promptTokens: 1_200,
    cachedPromptTokens: 200,
    completionTokens: 40,
    localTokens: [0, 0],
    tokensPerSecond: 41.5,
    cost: [{ amount: 0.0021, currency: "USD" }],
  },
  {
    id: "r-1",
    startedAt: "2026-11-23T11:00:00.000Z",
    client: "=cmd|' /C calc'!A0",
    task: "general",
    profile: "",
    model: "",
    engine: "",
    outcome: "failed:unknown_model",
    attempts: [],
    queueMs: 0,
    loadMs: 0,
    totalMs: 2,
    promptTokens: 0,
    cachedPromptTokens: 0,
    completionTokens: 0,
    localTokens: [0, 0],
  },
];

/** Metrics of a month with hostile names; `counted` replaces what money is computed from. */
export function createFakeMetrics(name = "smollm2:135m", counted = counts): Metrics {
  const named = [someNamed(name)];
  return {
    notePassedOn: () => undefined,
    noteRead: () => undefined,
    counters: () => ({ requests: [], durations: [] }),
    report: async () => ({
      since: "2026-11-01T00:00:00.000Z",
      total: someFigures,
      by: {
        model: named,
        engine: [someNamed("ollama")],
        profile: [someNamed("general")],
        client: [someNamed("claude-code")],
        task: [someNamed("code")],
        day: [someNamed("2026-11-23")],
      },
      connections: {
        ollama: {
          control: { open: 1, limit: 10, running: 0, queued: 0 },
          generation: { open: 1, running: 1, queued: 0 },
          most: 4,
        },
      },
      evictions: [{ model: name, kind: "load", count: 3 }],
      memory: [1, 2, 4].map((gigabytes, index) => ({
        at: `2026-11-23T10:0${index}:00.000Z`,
        availableBytes: 8e9 - gigabytes * 1e9,
        modelBytes: gigabytes * 1e9,
        byType: { llama: gigabytes * 1e9 },
      })),
    }),
    money: async () => moneyReport(counted, prices, Date.parse("2026-11-23T12:00:00Z")),
    breaches: async () => [],
    advice: async () => ({
      unused: [{ name, engine: "ollama", sizeBytes: 1e9, unusedDays: 40 }],
      found: [
        {
          kind: "unused",
          subject: name,
          text: `${name} was not used for 40 days`,
          next: { step: "tidyModels" },
          bytes: 1e9,
        },
      ],
    }),
    requests: async (_caller, { limit }) => ({ rows: requestsOf(name).slice(0, limit), total: 2, before: "r-1" }),
  };
}
