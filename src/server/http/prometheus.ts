import { cleanName } from "../../orchestrator/util/control-characters.ts";
import type { ServerResponse } from "node:http";
import { Counter, Gauge, type Metric, Registry } from "prom-client";
import type { Counters, Distribution, MetricsReport } from "../../orchestrator/api/facade-metrics.ts";
import type { RamStatus } from "../../orchestrator/api/facade-status.ts";
import type { CallerContext } from "../../orchestrator/api/types.ts";
import type { Caller } from "../call/caller.ts";
import { commonHeaders } from "./respond.ts";

/** Answers `GET /metrics`, in the text format of Prometheus. */
export async function answerMetrics(parts: Caller, response: ServerResponse): Promise<void> {
  const { orchestrator, callerSettings: settings, fileRoots: roots } = await parts.open();
  const closed = new AbortController();
  response.once("close", () => closed.abort("disconnected"));
  const caller: CallerContext = { id: parts.id, client: "metrics", settings, roots, signal: closed.signal };
  const [report, ram] = await Promise.all([orchestrator.metrics.report(caller), orchestrator.ramStatus(caller)]);
  // Values are counted elsewhere, so the registry lives as long as one answer; names of models and clients are bounded there.
  const registry = new Registry();
  const counters = orchestrator.metrics.counters();
  countRequests(registry, counters);
  for (const each of histograms) registry.registerMetric(distribution(each, counters.durations) as unknown as Metric);
  measureMachine(registry, report, ram, parts.version);
  const text = await registry.metrics();
  if (response.headersSent || response.destroyed) return;
  response.writeHead(200, { ...commonHeaders, "content-type": registry.contentType });
  response.end(text);
}

function countRequests(registry: Registry, { requests }: Counters): void {
  const registers = [registry];
  const asked = ["model", "engine"] as const;
  const every = [...asked, "profile", "client", "task"] as const;
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter({ name, help, labelNames, registers });
  const ended = counter("ollm_requests_total", "Requests that ended, by outcome.", [...every, "outcome"]);
  const errors = counter("ollm_errors_total", "Failures of models that were asked, by class of the error.", [
    ...asked,
    "class",
  ]);
  const fallbacks = counter("ollm_fallbacks_total", "Models that failed before this one answered.", asked);
  const prompt = counter("ollm_prompt_tokens_total", "Tokens of prompts, those read from a cache included.", every);
  const cached = counter("ollm_cached_prompt_tokens_total", "Tokens of prompts that were read from a cache.", every);
  const restored = counter(
    "ollm_restored_prompt_tokens_total",
    "Those of ollm_cached_prompt_tokens_total that came from disk.",
    every,
  );
  const completion = counter("ollm_completion_tokens_total", "Tokens that models generated.", every);
  const timed = counter("ollm_timed_tokens_total", "Generated tokens whose time is known.", asked);
  const decode = counter("ollm_decode_seconds_total", "Time in which ollm_timed_tokens_total were generated.", asked);
  for (const { model, engine, profile, client, task, ...row } of requests) {
    const own = { model, engine, profile, client, task };
    for (const outcome of ["answered", "failed", "cancelled"] as const) {
      if (row[outcome] > 0) ended.inc({ ...own, outcome }, row[outcome]);
    }
    for (const [name, count] of Object.entries(row.errors)) errors.inc({ model, engine, class: name }, count);
    // No model was asked.
    if (model === "") continue;
    fallbacks.inc({ model, engine }, row.fallbacks);
    prompt.inc(own, row.promptTokens);
    cached.inc(own, row.cachedPromptTokens);
    restored.inc(own, row.restoredPromptTokens);
    completion.inc(own, row.completionTokens);
    timed.inc({ model, engine }, row.timedTokens);
    decode.inc({ model, engine }, row.decodeMs / 1000);
  }
}

/** From 4 ms to 17 minutes: each bound is a line for each model. */
const [leastBoundMs, mostBoundMs] = [2 ** 2, 2 ** 20];

type Durations = Counters["durations"][number];

const histograms: readonly (readonly [string, string, (durations: Durations) => Distribution])[] = [
  ["ollm_queue_seconds", "Wait of a request to an engine in the queue.", ({ queue }) => queue],
  ["ollm_load_seconds", "Load of a model for a request.", ({ load }) => load],
  [
    "ollm_first_token_seconds",
    "From the start of a request to an engine to its first token.",
    ({ firstToken }) => firstToken,
  ],
  ["ollm_request_seconds", "Whole requests that were answered, without comparisons.", ({ total }) => total],
];

/** A histogram that was counted elsewhere: the package's own can only observe one value after the other. */
function distribution([name, help, of]: (typeof histograms)[number], durations: readonly Durations[]) {
  /** Called by the registry. */
  const get = async () => {
    const values = durations.flatMap((each) => {
      const { model, engine } = each;
      const labels = { model, engine };
      const { sumMs, bounds } = of(each);
      const count = bounds.at(-1)?.count ?? 0;
      if (count === 0) return [];
      const buckets = bounds
        .filter(({ upToMs }) => upToMs >= leastBoundMs && upToMs <= mostBoundMs)
        .map(({ upToMs, count: within }) => ({
          metricName: `${name}_bucket`,
          labels: { ...labels, le: upToMs / 1000 },
          value: within,
        }));
      return [
        ...buckets,
        { metricName: `${name}_bucket`, labels: { ...labels, le: "+Inf" }, value: count },
        { metricName: `${name}_sum`, labels, value: sumMs / 1000 },
        { metricName: `${name}_count`, labels, value: count },
      ];
    });
    return { name, help, type: "histogram", values, aggregator: "sum" };
  };
  return { name, get };
}

function measureMachine(registry: Registry, report: MetricsReport, ram: RamStatus, version: string): void {
  const registers = [registry];
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Gauge({ name, help, labelNames, registers });
  gauge("ollm_memory_total_bytes", "RAM of this machine, or its limit here.").set(ram.totalBytes);
  gauge("ollm_memory_available_bytes", "RAM that is available.").set(ram.availableBytes);
  gauge("ollm_swap_used_bytes", "Swap in use.").set(ram.swapUsedBytes);
  const loaded = gauge("ollm_model_memory_bytes", "RAM and VRAM of a loaded model.", ["model", "engine"]);
  for (const { name, engine, bytes } of ram.loaded)
    loaded.set({ model: cleanName(name), engine: cleanName(engine) }, bytes);
  const unloads = new Counter({
    name: "ollm_unloads_total",
    help: "Models unloaded: to make room (load), at the end of the keep-alive (expire), on request (unload).",
    labelNames: ["model", "reason"],
    registers,
  });
  for (const { model, kind, count } of report.evictions) unloads.inc({ model, reason: kind }, count);
  const connections = gauge("ollm_connections", "Connections to the server of an engine, by state.", [
    "engine",
    "pool",
    "state",
  ]);
  const most = gauge("ollm_control_calls_most", "The most short calls to an engine at once since the start.", [
    "engine",
  ]);
  for (const [engine, used] of Object.entries(report.connections)) {
    most.set({ engine }, used.most);
    for (const pool of ["control", "generation"] as const) {
      for (const state of ["open", "running", "queued"] as const) {
        connections.set({ engine, pool, state }, used[pool][state]);
      }
    }
  }
  gauge("ollm_build_info", "The version that runs.", ["version"]).set({ version }, 1);
}
