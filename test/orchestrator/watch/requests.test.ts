import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type EndedRequest, createEvents } from "../../../src/orchestrator/api/events.ts";
import { Cancelled, faultOf } from "../../../src/orchestrator/api/errors.ts";
import { type DocumentFiles, createDocumentFiles } from "../../../src/orchestrator/storage/document-files.ts";
import { watchRequests } from "../../../src/orchestrator/watch/requests.ts";
import { handClock } from "../../support/hand-clock.ts";
import { createMemoryDocumentFiles } from "../../support/memory-document-files.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const startMs = Date.parse("2026-11-23T05:30:00Z");

const answered: EndedRequest = {
  client: "cursor",
  clientVersion: "2.4.1",
  task: "code",
  profile: "code",
  totalMs: 900,
  fallbacks: 0,
  fileTokens: 0,
  given: { model: "a:1b", engine: "e", reason: "loaded, fits code profile", isDoubtful: false },
  attempts: [
    {
      model: "a:1b",
      engine: "e",
      isLocal: true,
      totalMs: 900,
      queueMs: 3,
      loadMs: 40,
      firstTokenMs: 120.4,
      promptTokens: 100,
      cachedPromptTokens: 60,
      completionTokens: 11,
      decodeMs: 250,
    },
  ],
};

function open(files: DocumentFiles = createMemoryDocumentFiles()) {
  const clock = handClock();
  const log = { debug: () => undefined, info: () => undefined, warn: () => undefined };
  const events = createEvents(log);
  const requests = watchRequests({ now: () => startMs + clock.now(), timers: clock, log, events, files });
  const ended = (request: EndedRequest): void => {
    events.emit({ kind: "request ended", ...request });
    events.flush();
  };
  const changes: string[] = [];
  events.on(["requests changed"], ({ kind }) => changes.push(kind));
  const ids = async (query: object = {}) => (await requests.list({ limit: 100, ...query })).rows.map(({ id }) => id);
  return { requests, clock, changes, events, ended, ids };
}

test("a request is one row with its figures, its attempts and the reason", async () => {
  const { requests, clock, ended } = open();
  clock.advance(1_000);
  ended(answered);
  const { rows, total } = await requests.list({ limit: 10 });
  expect(total).toBe(1);
  expect(rows).toEqual([
    {
      id: expect.any(String),
      startedAt: "2026-11-23T05:30:00.100Z",
      client: "cursor",
      clientVersion: "2.4.1",
      task: "code",
      profile: "code",
      model: "a:1b",
      engine: "e",
      reason: "loaded, fits code profile",
      outcome: "answered",
      attempts: [{ model: "a:1b", engine: "e", count: 1 }],
      queueMs: 3,
      loadMs: 40,
      firstTokenMs: 120,
      totalMs: 900,
      promptTokens: 100,
      cachedPromptTokens: 60,
      completionTokens: 11,
      localTokens: [100, 11],
      tokensPerSecond: 44,
    },
  ]);
});

test("attempts that are alike are one, their money is added by currency, and a failure saves nothing", async () => {
  const { requests, ended } = open();
  const part = { model: "b", engine: "cloud", isLocal: false, totalMs: 10, promptTokens: 5, completionTokens: 1 };
  const charge = { amount: 0.1, currency: "USD", tokens: 6 };
  const error = faultOf(new Error("defect"));
  ended({
    ...answered,
    attempts: [
      { ...part, charge },
      { ...part, charge: { ...charge, amount: 0.2 } },
      { ...part, charge: { ...charge, currency: "CNY" }, error },
      ...answered.attempts,
    ],
    error,
  });
  const { rows } = await requests.list({ limit: 1 });
  expect(rows[0]).toMatchObject({
    outcome: "failed:internal",
    attempts: [
      { model: "b", engine: "cloud", count: 2 },
      { model: "b", engine: "cloud", count: 1, error: "internal" },
      { model: "a:1b", engine: "e", count: 1 },
    ],
    cost: [
      { amount: 0.3, currency: "USD" },
      { amount: 0.1, currency: "CNY" },
    ],
    localTokens: [0, 0],
  });
});

test("the outcome says whether it was answered, doubtful, cancelled or failed", async () => {
  const { requests, ended } = open();
  ended(answered);
  ended({ ...answered, given: { model: "b", engine: "e", reason: "", isDoubtful: true }, via: "batch" });
  ended({ ...answered, error: faultOf(new Cancelled("the request was cancelled")) });
  ended({ ...answered, attempts: [], error: faultOf(new Error("defect")) });
  const { rows } = await requests.list({ limit: 10 });
  expect(rows.map(({ outcome }) => outcome)).toEqual(["failed:internal", "cancelled", "doubtful", "answered"]);
  expect(rows[2]).toMatchObject({ model: "b", via: "batch" });
  expect((await requests.list({ limit: 10, outcome: "failed" })).rows).toHaveLength(1);
});

test("pages follow each other by their cursor, also while requests end, and filters hold for all of them", async () => {
  const { requests, clock, ended } = open();
  for (let at = 0; at < 7; at += 1) {
    clock.advance(1_000);
    ended({ ...answered, client: at % 2 === 0 ? "even" : "odd" });
  }
  const first = await requests.list({ limit: 2, client: "even" });
  ended({ ...answered, client: "even" });
  const second = await requests.list({ limit: 2, client: "even", ...(first.before && { before: first.before }) });
  const times = [first, second].map(({ rows }) => rows.map(({ startedAt }) => startedAt.slice(17, 19)));
  expect(times).toEqual([
    ["06", "04"],
    ["02", "00"],
  ]);
  expect([first.total, second.total, second.before]).toEqual([4, 5, undefined]);
  const between = { limit: 9, from: "2026-11-23T05:30:02.000Z", to: "2026-11-23T05:30:05.000Z" };
  expect((await requests.list(between)).rows).toHaveLength(3);
  expect((await requests.list({ limit: 9, before: "gone" })).rows).toEqual([]);
});

test("groups of the requests that match have figures that were counted by hand", async () => {
  const { requests, clock, ended } = open();
  const [attempt] = answered.attempts as [EndedRequest["attempts"][number]];
  const crash = faultOf(new Error("defect"));
  const by = (model: string, totalMs: number, more: Partial<EndedRequest> = {}): EndedRequest => ({
    ...answered,
    totalMs,
    given: { model, engine: "e", reason: "", isDoubtful: false },
    attempts: [{ ...attempt, model }],
    ...more,
  });
  // Two answers of a, one after b had failed twice and c once; in the second b was cancelled and a itself failed once.
  ended(by("a", 100, { attempts: ["b", "b", "c"].map((model) => ({ ...attempt, model, error: crash })) }));
  const cancelled = faultOf(new Cancelled("the request was cancelled"));
  const tried = [
    { ...attempt, model: "b", error: cancelled },
    { ...attempt, model: "a", error: crash },
    { ...attempt, model: "a", charge: { amount: 0.1, currency: "USD", tokens: 1 } },
  ];
  ended(by("a", 300, { attempts: tried, given: { model: "a", engine: "e", reason: "", isDoubtful: true } }));
  ended(by("a", 200, { attempts: [{ ...attempt, model: "a", charge: { amount: 0.2, currency: "USD", tokens: 1 } }] }));
  const { given: _given, ...none } = by("a", 9_000);
  ended({ ...none, error: crash });
  ended({ ...none, error: cancelled });
  // An hour later; another client; an answer of one token has no speed.
  clock.advance(3_600_000);
  ended(by("b", 50, { client: "zed", attempts: [{ ...attempt, model: "b", completionTokens: 1 }] }));

  const { groups, total } = await requests.list({ limit: 1, by: ["model", "client"] });
  expect(total).toBe(6);
  const figures = { fallbacks: [], errors: {}, cancelled: 0, failed: 0, cost: [] };
  expect(groups).toEqual([
    {
      ...figures,
      model: "a",
      client: "cursor",
      requests: 5,
      answered: 3,
      failed: 1,
      cancelled: 1,
      errors: { internal: 1 },
      fallbacks: [
        { from: "b", to: "a", count: 1 },
        { from: "c", to: "a", count: 1 },
      ],
      totalMs: { count: 3, p50: 200, p95: 300 },
      firstTokenMs: { count: 3, p50: 120, p95: 120 },
      tokensPerSecond: { count: 3, p50: 44, p95: 44 },
      promptTokens: 300 + 300 + 100 + 100 + 100,
      completionTokens: 33 + 33 + 11 + 11 + 11,
      cost: [{ amount: 0.3, currency: "USD" }],
    },
    {
      ...figures,
      model: "b",
      client: "zed",
      requests: 1,
      answered: 1,
      totalMs: { count: 1, p50: 50, p95: 50 },
      firstTokenMs: { count: 1, p50: 120, p95: 120 },
      tokensPerSecond: { count: 0, p50: 0, p95: 0 },
      promptTokens: 100,
      completionTokens: 1,
    },
  ]);
  const counted = async (query: object) =>
    (await requests.list({ limit: 9, ...query })).groups?.map(({ requests: count, hour, minute, profile }) => ({
      name: hour ?? minute ?? profile,
      count,
    }));
  expect(await counted({ by: ["hour"] })).toEqual([
    { name: "2026-11-23T05:00Z", count: 5 },
    { name: "2026-11-23T06:00Z", count: 1 },
  ]);
  expect(await counted({ by: ["minute"], model: "b" })).toEqual([{ name: "2026-11-23T06:29Z", count: 1 }]);
  expect(await counted({ by: ["profile"], outcome: "failed" })).toEqual([{ name: "code", count: 1 }]);
  expect(await counted({})).toBeUndefined();
});

test("rows are written a second after the first, together, and survive a restart", async () => {
  const texts = new Map<string, string>();
  const before = open(createMemoryDocumentFiles(texts));
  before.ended(answered);
  before.ended(answered);
  expect(texts.size).toBe(0);
  before.clock.advance(1_000);
  await expect.poll(() => texts.get("requests.journal")?.trim().split("\n")).toHaveLength(1);
  before.events.flush();
  expect(before.changes).toHaveLength(1);
  const known = await before.ids();
  // It was killed.
  const after = open(createMemoryDocumentFiles(new Map(texts)));
  after.clock.advance(60_000);
  expect(await after.ids()).toEqual(known);
  await before.requests.close();
  expect([...texts.keys()]).toEqual(["requests.json"]);
});

test("what ends while the disk is full is shown, and written when it can be", async () => {
  const texts = new Map<string, string>();
  const files = createMemoryDocumentFiles(texts);
  let isFull = true;
  const { requests, clock, ended, ids } = open({
    ...files,
    append: async (...given) => {
      if (isFull) throw new Error("disk full");
      return files.append(...given);
    },
  });
  ended(answered);
  expect(await ids()).toHaveLength(1);
  expect(requests.problems()).toEqual([expect.stringContaining("disk full")]);
  isFull = false;
  clock.advance(61_000);
  await expect.poll(() => texts.size).toBe(1);
  expect([await ids(), requests.problems()]).toEqual([[expect.any(String)], []]);
});

test("the 10,001st request removes the oldest, on disk too", async () => {
  const texts = new Map<string, string>();
  const { requests, ended, ids } = open(createMemoryDocumentFiles(texts));
  ended({ ...answered, client: "first" });
  const [first] = await ids();
  for (let at = 0; at < 9_999; at += 1) ended(answered);
  expect((await requests.list({ limit: 1 })).total).toBe(10_000);
  expect((await requests.list({ limit: 1, client: "first" })).total).toBe(1);
  ended(answered);
  expect((await requests.list({ limit: 1 })).total).toBe(10_000);
  expect((await requests.list({ limit: 1, client: "first" })).total).toBe(0);
  await requests.close();
  const text = texts.get("requests.json") ?? "";
  expect(text).not.toContain(`"${first}"`);
  expect(text.length).toBeLessThan(6_000_000);
});

test("of a damaged file the readable rows are kept, and it is set aside", async () => {
  const home = await mkdtemp(join(tmpdir(), "ollm-requests-"));
  onTestFinished(() => rm(home, { recursive: true }));
  const before = open(createDocumentFiles(home));
  for (let at = 0; at < 3; at += 1) before.ended(answered);
  const [newest, , oldest] = await before.ids();
  await before.requests.close();
  const file = join(home, "requests.json");
  const stored = JSON.parse(await readFile(file, "utf8")) as { rows: object[] };
  await writeFile(file, JSON.stringify({ ...stored, rows: stored.rows.with(1, { id: 5 }) }));
  const after = open(createDocumentFiles(home));
  expect(await after.ids()).toEqual([newest, oldest]);
  expect(after.requests.problems()).toEqual([expect.stringContaining("the other rows were kept")]);
  await after.requests.close();

  await writeFile(file, '{"schemaVersion":1,"rows":[');
  const empty = open(createDocumentFiles(home));
  empty.ended(answered);
  expect(await empty.ids()).toHaveLength(1);
  await empty.requests.close();
  expect((await readdir(home)).filter((name) => name.includes("broken"))).toHaveLength(2);
});

test("names are harmless, and no text of a prompt, a file or an answer is in the list or on disk", async () => {
  const texts = new Map<string, string>();
  const marker = "s3cr3t-m4rk3r";
  const engine = createFakeEngine("ollama", [fakeModel("a:1b", gigabyte)]);
  engine.answer = async () => ({ text: marker, completionTokens: 3, decodeMs: 10 });
  const { orchestrator, generate, caller } = createTestOrchestrator([engine], {
    documentFiles: createMemoryDocumentFiles(texts),
  });
  const files = [{ path: `${marker}.txt`, text: marker }];
  await generate(
    { prompt: `say ${marker}`, system: marker, files },
    caller({ client: `bad\u001B[31m\nname${"x".repeat(200)}` }),
  );
  const { rows } = await orchestrator.metrics.requests(caller(), { limit: 10 });
  expect(rows[0]).toMatchObject({ model: "a:1b", outcome: "answered", saved: { currency: "USD" } });
  expect(rows[0]?.client).toMatch(/^bad \[31m name[x]+…$/);
  await orchestrator.close();
  expect(texts.has("requests.json")).toBe(true);
  expect(JSON.stringify(rows) + (texts.get("requests.json") ?? "")).not.toContain(marker);
});
