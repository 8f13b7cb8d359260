import { type EndedRequest, type Event, type EventOf, createEvents } from "../../../../src/orchestrator/api/events.ts";
import { faultOf } from "../../../../src/orchestrator/api/errors.ts";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { watchMetrics } from "../../../../src/orchestrator/watch/metrics/store.ts";
import { type DocumentFiles, createDocumentFiles } from "../../../../src/orchestrator/storage/document-files.ts";
import { keyOfName } from "../../../../src/orchestrator/util/model-name.ts";
import { createFakeEngine } from "../../../support/fake-engine.ts";
import { handClock } from "../../../support/hand-clock.ts";
import { createMemoryDocumentFiles } from "../../../support/memory-document-files.ts";

const startMs = Date.parse("2026-11-23T05:30:00Z");
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };

const answered: EndedRequest = {
  client: "cursor",
  task: "code",
  profile: "code",
  totalMs: 900,
  fallbacks: 0,
  fileTokens: 0,
  attempts: [{ model: "a:1b", engine: "e", isLocal: true, totalMs: 900, promptTokens: 100, completionTokens: 10 }],
};
/** Without tokens, so that it isn't money. */
const failed: EndedRequest = { ...answered, attempts: [], error: faultOf(new Error("defect")) };

function open(files: DocumentFiles = createMemoryDocumentFiles()) {
  const clock = handClock();
  const published: Event[] = [];
  const events = createEvents(silent);
  events.on(["figures changed"], (event) => published.push(event));
  const store = watchMetrics({
    now: () => startMs + clock.now(),
    timers: clock,
    log: silent,
    events,
    connections: () => createFakeEngine("e", []).connections?.() as never,
    limitsOf: () => undefined,
    pressure: async () => ({}),
    requestsSince: async () => [],
    files,
  });
  /** Delivered at once. */
  const emit = (event: Event): void => {
    events.emit(event);
    events.flush();
  };
  const ended = (request: EndedRequest): void => emit({ kind: "request ended", ...request });
  return { store, clock, events, published, ended, emit };
}

const requestsIn = async ({ store }: ReturnType<typeof open>) => (await store.report()).total.requests;

/** What is on disk, read by another process. */
const stored = async (texts: ReadonlyMap<string, string>) =>
  requestsIn(open(createMemoryDocumentFiles(new Map(texts))));

describe("what was counted", () => {
  test("is counted once for advice about its model", async () => {
    const { store, ended } = open();
    for (let at = 0; at < 24; at += 1) ended(answered);
    expect((await store.models()).byName.get(keyOfName("a:1b"))).toMatchObject({ requests: 24, promptTokens: 2_400 });
    await store.close();
  });

  test("is written within a second if money is computed from it, never in the call", async () => {
    const texts = new Map<string, string>();
    const { clock, ended } = open(createMemoryDocumentFiles(texts));
    ended(answered);
    ended(answered);
    expect(texts.size).toBe(0);
    clock.advance(1_000);
    await expect.poll(() => stored(texts)).toBe(2);
    expect((await open(createMemoryDocumentFiles(texts)).store.moneyCounts())[0]).toMatchObject({
      day: "2026-11-23",
      promptTokens: 200,
      completionTokens: 20,
    });
  });

  test("prompts that left this machine are on disk at once, and add up over daemons", async () => {
    const texts = new Map<string, string>();
    const first = open(createMemoryDocumentFiles(texts));
    const sent = { kind: "remote request sent", engine: "openrouter" } as const;
    expect(await first.store.remote()).toEqual({ count: 0, sinceMs: startMs });
    first.emit(sent);
    first.emit({ ...sent, engine: "api.example.com" });
    // It ends without a farewell.
    await expect.poll(() => texts.get("metrics.journal")).toContain("api.example.com");
    const second = open(createMemoryDocumentFiles(texts));
    second.clock.advance(7_200_000);
    second.emit(sent);
    await second.store.close();
    const third = open(createMemoryDocumentFiles(texts));
    third.clock.advance(86_400_000);
    expect(await third.store.remote()).toEqual({
      count: 3,
      sinceMs: startMs,
      last: { engine: "openrouter", atMs: startMs + 7_200_000 },
    });
  });

  test("an older file says nothing of prompts that left: they are counted from then on, and the rest is kept", async () => {
    // A request of a second, without the times of failures and comparisons.
    const counts = [[1, 1, 0, 0, 0, 5, 0, 7, 0, 0, 0, 12], {}, ["", "", "", "1000DC1"]];
    const days = [["2026-11-22", 4, "code", counts]];
    const state = { hours: [], days, money: [], evictions: [], memoryHours: [], memoryDays: [] };
    const texts = new Map([["metrics.json", JSON.stringify({ schemaVersion: 1, sequence: 4, ...state })]]);
    const { store, ended } = open(createMemoryDocumentFiles(texts));
    ended(answered);
    await store.close();
    const later = open(createMemoryDocumentFiles(texts));
    later.clock.advance(86_400_000);
    expect(await later.store.remote()).toEqual({ count: 0, sinceMs: startMs });
    const { total } = await later.store.report();
    expect([later.store.problems(), total.requests, total.totalMs.count, total.failedMs.count]).toEqual([[], 2, 2, 0]);
  });

  test("is written within a minute otherwise", async () => {
    const texts = new Map<string, string>();
    const { clock, ended } = open(createMemoryDocumentFiles(texts));
    ended(failed);
    clock.advance(50_000);
    expect(await stored(texts)).toBe(0);
    clock.advance(11_000);
    await expect.poll(() => stored(texts)).toBe(1);
  });

  test("is written at the end, also what ended just before", async () => {
    const texts = new Map<string, string>();
    const { store, ended } = open(createMemoryDocumentFiles(texts));
    ended(failed);
    await store.close();
    expect(await stored(texts)).toBe(1);
    ended(failed);
    expect([...texts.keys()]).toEqual(["metrics.json"]);
  });

  test("before a restart and after it adds up, each hour of the day by itself", async () => {
    const texts = new Map<string, string>();
    const first = open(createMemoryDocumentFiles(texts));
    first.ended(answered);
    await first.store.close();
    const second = open(createMemoryDocumentFiles(texts));
    second.clock.advance(3_600_000);
    second.ended(answered);
    second.ended(failed);
    const { total, by, since } = await second.store.report();
    expect(since).toBe("2026-11-23T00:00:00.000Z");
    expect(total).toMatchObject({ requests: 3, answered: 2, failed: 1, promptTokens: 200 });
    const day = by.day[0]?.history ?? [];
    expect([day.length, day[5], day[6]]).toEqual([24, 1, 2]);
    expect(by.client[0]).toMatchObject({ name: "cursor", requests: 3, history: [3] });
  });
});

describe("a disk", () => {
  test("that is full doesn't stop the counting, is named as a problem, and gets everything later", async () => {
    const texts = new Map<string, string>();
    const files = createMemoryDocumentFiles(texts);
    let isFull = true;
    const full = open({
      ...files,
      append: (...given) => (isFull ? Promise.reject(new Error("ENOSPC: no space left")) : files.append(...given)),
    });
    const { store, clock, ended } = full;
    // Longer than hours are kept apart while they wait.
    for (let hour = 0; hour < 60; hour += 1) {
      ended(answered);
      clock.advance(3_600_000);
    }
    await expect.poll(() => store.problems()).toEqual([expect.stringMatching(/^metrics are not saved: .*ENOSPC/)]);
    expect(await requestsIn(full)).toBe(60);
    expect(await stored(texts)).toBe(0);
    isFull = false;
    ended(answered);
    clock.advance(1_000);
    await expect.poll(() => stored(texts)).toBe(61);
    expect(store.problems()).toEqual([]);
    expect((await store.moneyCounts()).reduce((sum, { promptTokens }) => sum + promptTokens, 0)).toBe(6100);
  });

  test("with a file that is broken gets it set aside, with a problem, and counting begins anew", async () => {
    const home = await mkdtemp(join(tmpdir(), "ollm-metrics-"));
    onTestFinished(() => rm(home, { recursive: true }));
    await writeFile(join(home, "metrics.json"), '{"schemaVersion":1,"sequence":4,"hours":"gone"');
    const opened = open(createDocumentFiles(home));
    opened.ended(answered);
    expect(await requestsIn(opened)).toBe(1);
    expect(opened.store.problems()).toEqual([expect.stringMatching(/^metrics\.json can't be read: .*set aside as /)]);
    await opened.store.close();
    const names = await readdir(home);
    expect(names).toHaveLength(2);
    const aside = names.find((name) => name.startsWith("metrics.json.broken-")) ?? "";
    expect(await readFile(join(home, aside), "utf8")).toContain('"gone"');
    expect(await requestsIn(open(createDocumentFiles(home)))).toBe(1);
  });

  test("that can't be read is named as a problem; what this process counts is shown", async () => {
    const opened = open({
      ...createMemoryDocumentFiles(),
      read: () => Promise.reject(Object.assign(new Error("EACCES: permission denied"), { code: "EACCES" })),
    });
    opened.ended(answered);
    expect(await requestsIn(opened)).toBe(1);
    expect(opened.store.problems()).toEqual([expect.stringMatching(/^metrics are not saved: .*EACCES/)]);
  });
});

describe("memory over time", () => {
  const sample = (minute: number, modelBytes: number) => ({
    at: new Date(startMs + minute * 60_000).toISOString(),
    availableBytes: 100 - modelBytes,
    modelBytes,
    byType: modelBytes === 0 ? {} : { llama: modelBytes },
  });

  test("is kept by minute for a day, and its extremes by hour and day", async () => {
    const texts = new Map<string, string>();
    const { store, clock, emit } = open(createMemoryDocumentFiles(texts));
    for (let minute = 0; minute < 2_000; minute += 1) {
      emit({ kind: "memory sampled", sample: sample(minute, minute === 20 ? 60 : 10), loaded: [] });
      clock.advance(60_000);
    }
    const { memory } = await store.report();
    expect(memory.length).toBeGreaterThan(1_440);
    expect(memory.length).toBeLessThan(1_480);
    expect(memory[0]).toEqual({
      at: "2026-11-23T05:30:00.000Z",
      availableBytes: 40,
      modelBytes: 60,
      byType: { llama: 60 },
    });
    await store.close();
    const { memory: later } = await open(createMemoryDocumentFiles(texts)).store.report();
    expect(later.map(({ modelBytes }) => modelBytes)).toEqual([60, ...Array.from({ length: 33 }, () => 10)]);
  });
});

test("a change is published at once, and then once a minute while there is more", () => {
  const { clock, events, ended, published } = open();
  for (let second = 0; second < 150; second += 1) {
    ended(answered);
    clock.advance(1_000);
  }
  events.flush();
  expect(published).toEqual(Array.from({ length: 3 }, () => ({ kind: "figures changed" })));
  clock.advance(600_000);
  events.flush();
  expect(published).toHaveLength(4);
});

test("unloads are counted by reason, and decisions without one are not", async () => {
  const { store, emit } = open();
  const decide = (decision: EventOf<"decision taken">["decision"]) => emit({ kind: "decision taken", decision });
  const plan = { evict: [{ name: "a:1b" }, { name: "b:1b" }] } as never;
  decide({ kind: "load", model: "c:7b", engine: "e", steps: [], plan });
  decide({ kind: "expire", model: "c:7b", engine: "e", steps: [] });
  decide({ kind: "refuse", model: "d:70b", engine: "e", steps: [], plan });
  decide({ kind: "wait", model: "d:70b", engine: "e", steps: [] });
  expect((await store.report()).evictions).toEqual([
    { model: "a:1b", kind: "load", count: 1 },
    { model: "b:1b", kind: "load", count: 1 },
    { model: "c:7b", kind: "expire", count: 1 },
  ]);
});

test("counts that can't be stored are lost alone, and so are rows that can't be read", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ollm-metrics-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const first = open(createDocumentFiles(folder));
  first.ended({ ...answered, fallbacks: Number.NaN });
  first.clock.advance(1_000);
  await expect.poll(async () => requestsIn(first)).toBe(0);
  first.ended(answered);
  await first.store.close();
  const file = join(folder, "metrics.json");
  const kept = JSON.parse(await readFile(file, "utf8")) as { money: object[] };
  await writeFile(file, JSON.stringify({ ...kept, money: [...kept.money, { ...kept.money[0], promptTokens: null }] }));
  const again = open(createDocumentFiles(folder));
  expect(await requestsIn(again)).toBe(1);
  expect(again.store.problems()).toEqual([expect.stringContaining("the other rows were kept")]);
  await again.store.close();
});
