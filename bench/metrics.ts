import { createMemoryDocumentFiles } from "../test/support/memory-document-files.ts";
import type { CallerContext } from "../src/orchestrator/api/types.ts";
import type { Answered } from "../src/orchestrator/generation/ports.ts";
import type { LocatedCandidate } from "../src/orchestrator/generation/candidates.ts";
import { requestTally } from "../src/orchestrator/generation/tally.ts";
import { createEvents } from "../src/orchestrator/api/events.ts";
import { watchMetrics } from "../src/orchestrator/watch/metrics/store.ts";
import type { Bench } from "./bench.ts";
import { median, percentile, rounded } from "./support/statistics.ts";

const bars = { callMs: 0.02 };
const requests = 20_000;
/** Requests that end within a moment. */
const together = 20;
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };

/** In an hour: 20 models, 3 clients, 10 tasks. */
const names = Array.from({ length: 60 }, (_, at) => ({
  model: `some-model-${at % 20}:7b`,
  client: ["claude-code", "cursor", "claude-desktop"][at % 3] ?? "",
  task: `task-${Math.floor(at / 6)}`,
}));

export const metrics: Bench = {
  name: "metrics",
  summary: `what counting a request costs its call: at most ${bars.callMs} ms (median)`,
  help: `empty: a request that runs an empty function. counted: the same with a tally, which hands the request over at its end.
later: what follows a moment later for each request, off the way of any call: counting it, and the line of the journal.`,
  runsSources: true,
  async run() {
    const times = { empty: [] as number[], counted: [] as number[], later: [] as number[] };
    let count: () => void = () => undefined;
    const events = createEvents(silent);
    const store = watchMetrics({
      now: () => Date.now(),
      log: silent,
      events,
      connections: () => ({}),
      limitsOf: () => undefined,
      pressure: async () => ({}),
      requestsSince: async () => [],
      files: createMemoryDocumentFiles(),
      timers: {
        after: (delayMs, action) => {
          if (delayMs === 1_000) count = action;
          return () => undefined;
        },
      },
    });
    const world = { emit: events.emit, steady: () => performance.now() };
    const { signal } = new AbortController();
    for (let number = 0; number < requests; number += 1) {
      const { model, client, task } = names[number % names.length] as (typeof names)[number];
      const caller = { client } as CallerContext;
      const request = { prompt: "hello", task: task as never };
      const entry = {
        located: { engine: { id: "ollama" }, model: { name: model } },
        candidate: { trust: "local" },
      } as unknown as LocatedCandidate;
      const work = async (): Promise<Answered> => answered;

      // Alternating, so that both meet the same machine.
      let startMs = performance.now();
      await run(() => run(work));
      times.empty.push(performance.now() - startMs);
      startMs = performance.now();
      const tally = requestTally(world, caller, request);
      await tally.count(() => tally.attempt(entry, work), signal);
      times.counted.push(performance.now() - startMs);
      if (number % together !== together - 1) continue;
      startMs = performance.now();
      events.flush();
      count();
      times.later.push((performance.now() - startMs) / together);
      // The write, which is not measured beyond its beginning.
      await new Promise((resolve) => void setImmediate(resolve));
    }
    await store.close();
    const callMs = median(times.counted) - median(times.empty);
    return {
      rows: Object.entries(times).map(([what, each]) => ({
        what,
        median_us: rounded(median(each) * 1000, 2),
        p99_us: rounded(percentile(each, 99) * 1000, 2),
      })),
      totals: { call_us: rounded(callMs * 1000, 2) },
      verdict: `${rounded(callMs, 4)} ms a call (median of ${requests}; bar ${bars.callMs}), ${rounded(median(times.later), 4)} ms later`,
      passed: callMs <= bars.callMs,
    };
  },
};

async function run<Result>(work: () => Promise<Result>): Promise<Result> {
  return await work();
}

const answered = {
  generation: {
    text: "hello",
    finishReason: "stop",
    promptTokens: 700,
    cachedPromptTokens: 100,
    completionTokens: 120,
    loadMs: 0,
    firstTokenMs: 350,
    prefillMs: 350,
    decodeMs: 2400,
    totalMs: 2750,
  },
  options: {
    system: undefined,
    maxTokens: 4096,
    contextTokens: undefined,
    sampling: {},
    from: {},
  },
  cost: undefined,
  notes: [],
  queueMs: 3,
  loadMs: 0,
  memory: undefined,
} as const satisfies Answered;
