import { describe, expect, test } from "vitest";
import { Cancelled, GenerationFailed, faultOf } from "../../../../src/orchestrator/api/errors.ts";
import type { EndedRequest } from "../../../../src/orchestrator/api/events.ts";
import type { Figures, MetricsReport } from "../../../../src/orchestrator/api/facade-metrics.ts";
import { countRequest, emptyCounts, figuresOf } from "../../../../src/orchestrator/watch/metrics/counts.ts";
import { compare } from "../../compare/fixture.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../../../support/fake-engine.ts";
import { type TestOrchestrator, createTestOrchestrator } from "../../../support/orchestrator.ts";
import { createReadingEngine, narrowModel, portsFile, portsQuestion } from "../../../support/reading-engine.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const other = fakeModel("mistral:7b", 4 * gigabyte);
const now = () => Date.parse("2026-11-23T05:30:00Z");

const reportOf = ({ orchestrator, caller }: TestOrchestrator): Promise<MetricsReport> =>
  orchestrator.metrics.report(caller());
const moneyOf = ({ orchestrator, caller }: TestOrchestrator) => orchestrator.metrics.money(caller());

function named(report: MetricsReport, kind: keyof MetricsReport["by"], name: string): Figures {
  const found = report.by[kind].find((each) => each.name === name);
  if (found === undefined) throw new Error(`no ${name} among ${report.by[kind].map((each) => each.name).join(", ")}`);
  return found;
}

const dimensions = ["model", "engine", "profile", "client", "task", "day"] as const;

describe("an answered request", () => {
  test("is counted once by each name, with its tokens and times", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.answer = async () => ({
      promptTokens: 70,
      cachedPromptTokens: 20,
      restoredPromptTokens: 20,
      completionTokens: 11,
      decodeMs: 500,
    });
    const harness = createTestOrchestrator([engine], { now });
    await harness.generate({ task: "code", profile: "code" });
    const report = await reportOf(harness);
    expect(report.total).toMatchObject({
      requests: 1,
      answered: 1,
      failed: 0,
      cancelled: 0,
      errors: {},
      fallbacks: 0,
      promptTokens: 70,
      cachedPromptTokens: 20,
      restoredPromptTokens: 20,
      completionTokens: 11,
      tokensPerSecond: 22,
      lastUsedAt: "2026-11-23T05:30:00.000Z",
    });
    expect(report.total.firstTokenMs).toEqual({ count: 1, p50: 1, p95: 1 });
    for (const kind of dimensions) {
      expect(report.by[kind], kind).toHaveLength(1);
      expect(report.by[kind][0], kind).toMatchObject(report.total);
    }
    expect(dimensions.map((kind) => report.by[kind][0]?.name)).toEqual([
      "llama3.2:3b",
      "ollama",
      "code",
      "test",
      "code",
      "2026-11-23",
    ]);
  });

  test("by a second model counts the failure at the first, and a fallback at the second", async () => {
    const engine = createFakeEngine("ollama", [small, other]);
    engine.answer = ({ model }) =>
      model === small.name ? Promise.reject(new GenerationFailed("it crashed")) : Promise.resolve({});
    const harness = createTestOrchestrator([engine], { now });
    expect((await harness.generate({})).model).toBe(other.name);
    const report = await reportOf(harness);
    expect(report.total).toMatchObject({ requests: 1, answered: 1, failed: 0, fallbacks: 1 });
    expect(report.total.errors).toEqual({ generation_failed: 1 });
    expect(named(report, "model", small.name)).toMatchObject({ requests: 0, answered: 0, fallbacks: 0 });
    expect(named(report, "model", small.name).errors).toEqual({ generation_failed: 1 });
    expect(named(report, "model", other.name)).toMatchObject({ requests: 1, answered: 1, fallbacks: 1, errors: {} });
  });

  test("in parts is one request with the tokens of all", async () => {
    const { engine, requests } = createReadingEngine();
    const harness = createTestOrchestrator([engine], { now });
    await harness.generate({ prompt: portsQuestion, files: [portsFile("guide.md", 20)] });
    expect(requests.length).toBeGreaterThan(4);
    const { total, by } = await reportOf(harness);
    expect(total).toMatchObject({
      requests: 1,
      answered: 1,
      promptTokens: requests.length * 5,
      completionTokens: requests.length * 8,
    });
    expect(total.firstTokenMs.count).toBe(requests.length);
    expect(total.totalMs.count).toBe(1);
    expect(by.model.map(({ name }) => name)).toEqual([narrowModel.name]);
  });

  test("that failed its check counts the failure at the model that gave it", async () => {
    const engine = createFakeEngine("ollama", [small, other]);
    engine.answer = async ({ model }) => ({ text: model === small.name ? "no json" : '{"a": 1}' });
    const harness = createTestOrchestrator([engine], { now });
    await harness.generate({ prompt: "as json", format: "json" });
    const report = await reportOf(harness);
    expect(report.total).toMatchObject({ requests: 1, answered: 1, fallbacks: 1 });
    expect(named(report, "model", small.name).errors).toEqual({ check_failed: 1 });
    // A correction was asked for, too.
    expect(named(report, "model", small.name).promptTokens).toBe(10);
  });
});

describe("a request without an answer", () => {
  test("is failed, with the class of the error at the model that was asked", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.answer = () => Promise.reject(new GenerationFailed("it crashed"));
    const harness = createTestOrchestrator([engine], { now });
    await expect(harness.generate({})).rejects.toThrow("it crashed");
    const report = await reportOf(harness);
    expect(report.total).toMatchObject({ requests: 1, answered: 0, failed: 1, fallbacks: 0 });
    expect(named(report, "model", small.name)).toMatchObject({ requests: 1, failed: 1 });
    expect(named(report, "model", small.name).errors).toEqual({ generation_failed: 1 });
  });

  test("for which no model was asked is counted by the other names alone", async () => {
    const harness = createTestOrchestrator([createFakeEngine("ollama", [small])], { now });
    await expect(harness.generate({ model: "<b>unknown</b>" })).rejects.toThrow("unknown");
    const { total, by } = await reportOf(harness);
    expect(total).toMatchObject({ requests: 1, failed: 1, errors: { unknown_model: 1 } });
    expect([by.model, by.engine]).toEqual([[], []]);
    expect(by.client[0]).toMatchObject({ name: "test", failed: 1 });
  });

  test("that was cancelled is neither answered nor an error", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => gate.pass(signal).then(() => ({}));
    const harness = createTestOrchestrator([engine], { now });
    const controller = new AbortController();
    const operation = await harness.orchestrator.generate(harness.caller({ signal: controller.signal }), {
      prompt: "hello",
    });
    const ended = expect(operation.follow(controller.signal)).rejects.toThrow();
    await gate.entered;
    controller.abort("cancelled");
    await ended;
    await expect
      .poll(async () => (await reportOf(harness)).total)
      .toMatchObject({ requests: 1, answered: 0, failed: 0, cancelled: 1, errors: {} });
  });
});

describe("what broke off", () => {
  /** Writes four pieces of a prompt that was read, and then fails or is cancelled. */
  async function broken(isCancelled: boolean) {
    const engine = createFakeEngine("ollama", [small]);
    const gate = createGate();
    engine.answer = async (_request, sink, signal) => {
      for (const text of ["one ", "two ", "three ", "four "]) sink.text(text);
      if (isCancelled) await gate.pass(signal);
      throw new GenerationFailed("it crashed");
    };
    const harness = createTestOrchestrator([engine], { now });
    const controller = new AbortController();
    const operation = await harness.orchestrator.generate(harness.caller({ signal: controller.signal }), {
      prompt: "hello",
    });
    const ended = expect(operation.follow(controller.signal)).rejects.toThrow();
    if (isCancelled) {
      await gate.entered;
      controller.abort("cancelled");
    }
    await ended;
    await expect.poll(async () => (await reportOf(harness)).total.requests).toBe(1);
    return { report: await reportOf(harness), money: await moneyOf(harness) };
  }

  test.each([true, false])("has its tokens, and saved nothing (cancelled: %s)", async (isCancelled) => {
    const { report, money } = await broken(isCancelled);
    expect(report.total.completionTokens).toBeGreaterThanOrEqual(4);
    expect(report.total.promptTokens).toBeGreaterThan(0);
    expect([report.total.tokensPerSecond, money.rows]).toEqual([0, []]);
  });

  test("is not in the time of an answer, and neither are comparisons", () => {
    const counts = emptyCounts();
    const count = (totalMs: number, given: Partial<EndedRequest>) =>
      countRequest(
        { client: "c", task: "code", profile: "", fallbacks: 0, fileTokens: 0, attempts: [], totalMs, ...given },
        0,
        () => counts,
      );
    count(1_000, {});
    count(60_000, { error: faultOf(new GenerationFailed("it crashed")) });
    count(90_000, { error: faultOf(new Cancelled("it was cancelled")) });
    count(30_000, { task: "compare" });
    const { totalMs, failedMs, comparedMs } = figuresOf(counts);
    expect([totalMs, failedMs, comparedMs].map(({ count: answers }) => answers)).toEqual([1, 1, 1]);
    expect([totalMs.p95 < 1_100, failedMs.p50 > 59_000, comparedMs.p50 < 33_000]).toEqual([true, true, true]);
  });
});

describe("money", () => {
  test("comes from local tokens, and files that were read here are apart", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.answer = async () => ({ promptTokens: 1000, completionTokens: 200 });
    const harness = createTestOrchestrator([engine], { now });
    await harness.generate({ task: "summarization", files: [{ path: "a.md", text: "word ".repeat(400) }] });
    const { rows, total } = await moneyOf(harness);
    expect(rows).toMatchObject([
      { day: "2026-11-23", task: "summarization", client: "test", kind: "prompt", tokens: 1000 },
      { kind: "answer", tokens: 200 },
    ]);
    expect(total.localTokens).toBe(1200);
    expect(total.neverSentTokens).toBeGreaterThan(300);
    expect(total.neverSentTokens).toBeLessThan(500);
  });

  test("of comparisons is not saved, and their answers count as the task compare", async () => {
    const harness = createTestOrchestrator([createFakeEngine("ollama", [small, other])], { now });
    await compare(harness, { models: [small.name, other.name] });
    const report = await reportOf(harness);
    expect(report.by.task.map(({ name, requests }) => [name, requests])).toEqual([["compare", 2]]);
    expect((await moneyOf(harness)).rows).toEqual([]);
  });

  test("of a paid engine is what it charged, also for an answer that broke off", async () => {
    const paid = createFakeEngine("cloud", [fakeModel("kimi", 0, { trust: "remote" })], {
      trust: "remote",
      kind: "openai",
      pricesOf: () => ({ inputPerMillion: 1, outputPerMillion: 2, currency: "USD", date: "2026-11-01" }),
    });
    paid.answer = async () => ({ promptTokens: 1000, completionTokens: 500 });
    const harness = createTestOrchestrator([paid], { now, settings: { privacy: "allow_remote" } });
    await harness.generate({ task: "code", model: "kimi" });
    expect((await moneyOf(harness)).rows).toMatchObject([{ kind: "cloud", tokens: 1500, amount: -0.002 }]);
    paid.answer = (_request, sink) => {
      sink.text("half an ans");
      return Promise.reject(new GenerationFailed("it broke off"));
    };
    await expect(harness.generate({ task: "code", model: "kimi" })).rejects.toThrow("it broke off");
    const [row] = (await moneyOf(harness)).rows;
    expect(row?.tokens).toBeGreaterThan(1500);
    expect(row?.amount).toBeLessThan(-0.002);
  });
});

describe("unloads", () => {
  test("are counted by model and reason", async () => {
    const big = fakeModel("big:70b", 9 * gigabyte);
    const engine = createFakeEngine("ollama", [small, big]);
    const harness = createTestOrchestrator([engine], { now, memoryBytes: 12 * gigabyte });
    await harness.generate({ model: small.name });
    await harness.generate({ model: big.name });
    await harness.orchestrator.unloadModels(harness.caller(), big.name);
    expect((await reportOf(harness)).evictions).toEqual([
      { model: small.name, kind: "load", count: 1 },
      { model: big.name, kind: "unload", count: 1 },
    ]);
  });
});

test("names of clients are cleaned, and beyond 40 in an hour counted together", async () => {
  const harness = createTestOrchestrator([createFakeEngine("ollama", [small])], { now });
  await harness.generate({}, harness.caller({ client: "evil\n\u202e\u0000client" }));
  for (let number = 0; number < 60; number += 1) {
    await harness.generate({}, harness.caller({ client: `client-${number}` }));
  }
  await harness.generate({}, harness.caller({ client: "x".repeat(10_000) }));
  const { by, total } = await reportOf(harness);
  expect(total.requests).toBe(62);
  expect(by.client.length).toBeLessThanOrEqual(41);
  expect(named({ by } as MetricsReport, "client", "evil client").requests).toBe(1);
  expect(by.client[0]).toMatchObject({ name: "other", requests: 22 });
});
