import { afterEach, describe, expect, it } from "vitest";
import { GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import { type AccessPolicy, accessLists, digestOf, judge } from "../../../src/server/http/policy.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { type TestListener, startListener } from "./listener-fixture.ts";

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: Sample[];
}

const sampleLine = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const labelPair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/;

/**
 * The text format 0.0.4 of Prometheus, strictly: a family has HELP, TYPE and then its samples, without another one between
 * them; each series is there once; histograms are cumulative and end with +Inf, which equals the count.
 */
function parse(text: string): ReadonlyMap<string, Family> {
  expect(text.endsWith("\n")).toBe(true);
  const families = new Map<string, Family>();
  const series = new Set<string>();
  let current: { readonly name: string; readonly family: Family } | undefined;
  let help: { readonly name: string; readonly text: string } | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    // eslint-disable-next-line no-control-regex
    expect(line).not.toMatch(/[\u0000-\u001f\u007f\u2028\u2029]/u);
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      help = { name, text: rest };
      continue;
    }
    if (keyword === "TYPE") {
      expect(help?.name, `${name} has its help before`).toBe(name);
      expect(families.has(name), `${name} is there once`).toBe(false);
      expect(["counter", "gauge", "histogram"]).toContain(rest);
      current = { name, family: { type: rest, help: help?.text ?? "", samples: [] } };
      families.set(name, current.family);
      continue;
    }
    const [, sample = "", pairs = "", number = ""] = sampleLine.exec(line) ?? [];
    expect(sample, `a sample: ${line}`).not.toBe("");
    const suffixes = current?.family.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    expect(suffixes.map((suffix) => `${current?.name}${suffix}`)).toContain(sample);
    const labels = labelsOf(pairs);
    const id = `${sample} ${JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1)))}`;
    expect(series.has(id), `${id} is there once`).toBe(false);
    series.add(id);
    const value = number === "+Inf" ? Number.POSITIVE_INFINITY : Number(number);
    expect(value).not.toBeNaN();
    current?.family.samples.push({ name: sample, labels, value });
  }
  for (const [name, family] of families) checkFamily(name, family);
  return families;
}

function labelsOf(text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const [pair = "", name = "", value = ""] = labelPair.exec(rest) ?? [];
    expect(pair, `a label: ${rest}`).not.toBe("");
    expect(labels[name], `${name} is there once`).toBeUndefined();
    labels[name] = value.replaceAll(/\\(["\\n])/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));
    rest = rest.slice(pair.length);
  }
  return labels;
}

function checkFamily(name: string, { type, samples }: Family): void {
  if (type === "counter") expect(name).toMatch(/_total$/);
  if (type !== "gauge") for (const { value } of samples) expect(value).toBeGreaterThanOrEqual(0);
  if (type !== "histogram") return;
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _le, ...own } = sample.labels;
    const key = JSON.stringify(own);
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  for (const group of groups.values()) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) =>
      labels["le"] === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels["le"]),
    );
    expect(bounds).toEqual(bounds.toSorted((a, b) => a - b));
    expect(bounds.at(-1)).toBe(Number.POSITIVE_INFINITY);
    const counts = buckets.map(({ value }) => value);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(group.find((sample) => sample.name === `${name}_count`)?.value).toBe(counts.at(-1));
    expect(group.filter((sample) => sample.name === `${name}_sum`)).toHaveLength(1);
  }
}

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const hostile = 'evil"} 1\n# TYPE ollm_evil counter\nollm_evil{x="\\\u2028\u0000\u202e\ud800';

let listener: TestListener | undefined;
afterEach(async () => {
  await listener?.close();
  listener = undefined;
});

async function serve(settings = {}) {
  const engine = createFakeEngine("ollama", [small]);
  engine.answer = async () => ({ promptTokens: 70, completionTokens: 11, decodeMs: 500, firstTokenMs: 300 });
  const harness = createTestOrchestrator([engine], { now: () => Date.now() });
  listener = await startListener({ orchestrator: harness.orchestrator, settings });
  return { ...harness, engine, listener };
}

describe("GET /metrics", () => {
  it("is what was counted since the start, in the text format of Prometheus", async () => {
    const { generate, engine, listener: served } = await serve();
    await generate({ task: "code", profile: "code" });
    await generate({ task: "code", profile: "code" });
    engine.answer = () => Promise.reject(new GenerationFailed("it crashed"));
    await expect(generate({ task: "code", profile: "code" })).rejects.toThrow("it crashed");
    const { status, headers, text } = await served.ask("/metrics");
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(headers["cache-control"]).toBe("no-store");
    const families = parse(text);
    const every = { model: small.name, engine: "ollama", profile: "code", client: "test", task: "code" };
    const valuesOf = (name: string) => families.get(name)?.samples.map(({ labels, value }) => [labels, value]);
    expect(valuesOf("ollm_requests_total")).toEqual([
      [{ ...every, outcome: "answered" }, 2],
      [{ ...every, outcome: "failed" }, 1],
    ]);
    expect(valuesOf("ollm_errors_total")).toEqual([
      [{ model: small.name, engine: "ollama", class: "generation_failed" }, 1],
    ]);
    expect(valuesOf("ollm_prompt_tokens_total")).toEqual([[every, 140]]);
    expect(valuesOf("ollm_completion_tokens_total")).toEqual([[every, 22]]);
    expect(valuesOf("ollm_decode_seconds_total")).toEqual([[{ model: small.name, engine: "ollama" }, 1]]);
    expect(valuesOf("ollm_model_memory_bytes")).toEqual([[{ model: small.name, engine: "ollama" }, 2 * gigabyte]]);
    const first = families.get("ollm_first_token_seconds")?.samples ?? [];
    const bucket = (le: string) => first.find(({ labels }) => labels["le"] === le)?.value;
    expect([bucket("0.256"), bucket("0.512"), bucket("+Inf")]).toEqual([0, 2, 2]);
    expect(first.find(({ name }) => name.endsWith("_sum"))?.value).toBe(0.6);
    expect(text.split("\n").filter((line) => /^# (TYPE|HELP)/.test(line))).toMatchInlineSnapshot(`
      [
        "# HELP ollm_requests_total Requests that ended, by outcome.",
        "# TYPE ollm_requests_total counter",
        "# HELP ollm_errors_total Failures of models that were asked, by class of the error.",
        "# TYPE ollm_errors_total counter",
        "# HELP ollm_fallbacks_total Models that failed before this one answered.",
        "# TYPE ollm_fallbacks_total counter",
        "# HELP ollm_prompt_tokens_total Tokens of prompts, those read from a cache included.",
        "# TYPE ollm_prompt_tokens_total counter",
        "# HELP ollm_cached_prompt_tokens_total Tokens of prompts that were read from a cache.",
        "# TYPE ollm_cached_prompt_tokens_total counter",
        "# HELP ollm_restored_prompt_tokens_total Those of ollm_cached_prompt_tokens_total that came from disk.",
        "# TYPE ollm_restored_prompt_tokens_total counter",
        "# HELP ollm_completion_tokens_total Tokens that models generated.",
        "# TYPE ollm_completion_tokens_total counter",
        "# HELP ollm_timed_tokens_total Generated tokens whose time is known.",
        "# TYPE ollm_timed_tokens_total counter",
        "# HELP ollm_decode_seconds_total Time in which ollm_timed_tokens_total were generated.",
        "# TYPE ollm_decode_seconds_total counter",
        "# HELP ollm_queue_seconds Wait of a request to an engine in the queue.",
        "# TYPE ollm_queue_seconds histogram",
        "# HELP ollm_load_seconds Load of a model for a request.",
        "# TYPE ollm_load_seconds histogram",
        "# HELP ollm_first_token_seconds From the start of a request to an engine to its first token.",
        "# TYPE ollm_first_token_seconds histogram",
        "# HELP ollm_request_seconds Whole requests that were answered, without comparisons.",
        "# TYPE ollm_request_seconds histogram",
        "# HELP ollm_memory_total_bytes RAM of this machine, or its limit here.",
        "# TYPE ollm_memory_total_bytes gauge",
        "# HELP ollm_memory_available_bytes RAM that is available.",
        "# TYPE ollm_memory_available_bytes gauge",
        "# HELP ollm_swap_used_bytes Swap in use.",
        "# TYPE ollm_swap_used_bytes gauge",
        "# HELP ollm_model_memory_bytes RAM and VRAM of a loaded model.",
        "# TYPE ollm_model_memory_bytes gauge",
        "# HELP ollm_unloads_total Models unloaded: to make room (load), at the end of the keep-alive (expire), on request (unload).",
        "# TYPE ollm_unloads_total counter",
        "# HELP ollm_connections Connections to the server of an engine, by state.",
        "# TYPE ollm_connections gauge",
        "# HELP ollm_control_calls_most The most short calls to an engine at once since the start.",
        "# TYPE ollm_control_calls_most gauge",
        "# HELP ollm_build_info The version that runs.",
        "# TYPE ollm_build_info gauge",
      ]
    `);
  });

  it("keeps labels what they are, whatever a client calls itself, and their number within bounds", async () => {
    const { generate, caller, listener: served } = await serve();
    await generate({}, caller({ client: hostile }));
    for (let number = 0; number < 200; number += 1) await generate({}, caller({ client: `client-${number}` }));
    const { text } = await served.ask("/metrics");
    const families = parse(text);
    expect(families.has("ollm_evil")).toBe(false);
    const samples = families.get("ollm_requests_total")?.samples ?? [];
    expect(samples.length).toBeLessThanOrEqual(51);
    expect(samples.reduce((sum, { value }) => sum + value, 0)).toBe(201);
    expect(samples.map(({ labels }) => labels["client"])).toContain("other");
    expect(samples[0]?.labels["client"]).toMatch(/^evil"\} 1 # TYPE/);
  });

  it("needs the token, unless a setting opens it to programs on this machine", async () => {
    const { listener: closed } = await serve();
    const anonymous = { headers: { authorization: undefined } };
    expect((await closed.ask("/metrics", anonymous)).status).toBe(401);
    expect((await closed.ask("/metrics", { headers: { authorization: "Bearer wrong" } })).status).toBe(401);
    expect((await closed.ask("/metrics", { method: "POST", body: {} })).status).toBe(405);
    await closed.close();

    const { listener: opened } = await serve({ metricsWithoutToken: true });
    expect((await opened.ask("/metrics", anonymous)).status).toBe(200);
    // Nothing else is open, and no page of another site may read it.
    expect((await opened.ask("/mcp", { ...anonymous, method: "POST", body: {} })).status).toBe(401);
    const page = (headers: Record<string, string>) =>
      opened.ask("/metrics", { headers: { authorization: undefined, ...headers } });
    expect((await page({ origin: "https://evil.example" })).status).toBe(403);
    expect((await page({ "sec-fetch-site": "cross-site" })).status).toBe(403);
    expect((await page({ host: "evil.example" })).status).toBe(403);
    // A proxy on this machine calls for another one.
    for (const name of ["forwarded", "via", "x-forwarded-for", "x-real-ip"]) {
      expect((await page({ [name]: "10.0.0.7" })).status, name).toBe(401);
    }
  });

  it("is not open to other machines", () => {
    const settings = { allowedHosts: [], allowedOrigins: [] };
    const verdict = (remoteAddress: string | undefined, hasOpenMetrics: boolean) => {
      const policy: AccessPolicy = {
        ...accessLists("0.0.0.0", 7411, settings),
        token: digestOf("token"),
        hasOpenMetrics,
      };
      const head = { method: "GET", target: "/metrics", headers: { host: "127.0.0.1:7411" }, rawHeaders: [] };
      return judge({ ...head, localHost: "127.0.0.1:7411", remoteAddress }, policy).kind;
    };
    expect(verdict("127.0.0.1", true)).toBe("route");
    expect(verdict("::ffff:127.0.0.1", true)).toBe("route");
    for (const address of ["192.168.1.7", "::ffff:10.0.0.1", "fe80::1", "", undefined]) {
      expect(verdict(address, true), address).toBe("refused");
    }
    expect(verdict("127.0.0.1", false)).toBe("refused");
  });
});
