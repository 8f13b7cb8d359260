import fc from "fast-check";
import type { MoneyTally } from "../../../../src/orchestrator/api/cost.ts";
import { faultOf } from "../../../../src/orchestrator/api/errors.ts";
import type { EndedRequest } from "../../../../src/orchestrator/api/events.ts";
import { afterEach, describe, expect, test, vi } from "vitest";
import { countMoney, countRequest } from "../../../../src/orchestrator/watch/metrics/counts.ts";
import {
  type History,
  addBatch,
  dropOldest,
  emptyHistory,
  eventOf,
  openHistory,
} from "../../../../src/orchestrator/watch/metrics/history.ts";
import { PendingBatch, reportOf } from "../../../../src/orchestrator/watch/metrics/report.ts";
import { createMemoryDocumentFiles } from "../../../support/memory-document-files.ts";

type Batch = Parameters<typeof addBatch>[1];

afterEach(() => void vi.unstubAllEnvs());

const hourMs = 3_600_000;
const start = Date.parse("2026-01-01T00:00:00Z");
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };

function request(model: string, given: Partial<EndedRequest> = {}): EndedRequest {
  const totalMs = 900;
  const counts = { promptTokens: 1000, cachedPromptTokens: 300, completionTokens: 150, decodeMs: 3000 };
  return {
    client: "claude-code",
    task: "code",
    profile: "code",
    totalMs,
    fallbacks: 0,
    fileTokens: 0,
    attempts: [
      { model, engine: "ollama", isLocal: true, totalMs, ...counts, queueMs: 2, loadMs: 0, firstTokenMs: 300 },
    ],
    ...given,
  };
}

function batchOf(nowMs: number, requests: readonly EndedRequest[]): PendingBatch {
  const batch = new PendingBatch(nowMs);
  for (const each of requests) {
    countRequest(each, nowMs, (names) => batch.table.of(names));
    countMoney(each, (task, client) => batch.moneyOf(batch.day, task, client));
  }
  return batch;
}

/** Tokens that money is computed from. */
function byDay({ money }: History): ReadonlyMap<string, number> {
  const tokens = new Map<string, number>();
  for (const { day, client, promptTokens } of money.values()) {
    const key = `${day} ${client}`;
    tokens.set(key, (tokens.get(key) ?? 0) + promptTokens);
  }
  return tokens;
}

const totalsByDay = (history: History, nowMs: number) =>
  reportOf([history], nowMs, []).by.day.map(({ name, requests }) => [name, requests]);

const totalOf = (history: History, nowMs = start) => reportOf([history], nowMs, []).total;

describe("hours and days", () => {
  test("keep every sum, whatever was counted when", () => {
    const ended = fc.record({
      hour: fc.nat(400 * 24 - 1),
      model: fc.constantFrom("a", "b", "c"),
      client: fc.constantFrom("x", "y"),
      tokens: fc.nat(10_000),
      totalMs: fc.nat(100_000),
    });
    fc.assert(
      fc.property(fc.array(ended, { maxLength: 300 }), (all) => {
        const history = emptyHistory();
        for (const { hour, model, client, tokens, totalMs } of all) {
          const attempts = [{ model, engine: "e", isLocal: true, totalMs, promptTokens: tokens }];
          addBatch(history, batchOf(start + hour * hourMs, [request(model, { client, totalMs, attempts })]));
        }
        const [before, money] = [reportOf([history], start, []), byDay(history)];
        dropOldest(history);
        const after = reportOf([history], start, []);
        expect(history.hours.size).toBeLessThanOrEqual(192);
        expect(after.total).toEqual(before.total);
        expect(after.total.requests).toBe(all.length);
        for (const kind of ["model", "client", "task"] as const) {
          expect(new Map(after.by[kind].map(({ name, requests, totalMs }) => [name, { requests, totalMs }]))).toEqual(
            new Map(before.by[kind].map(({ name, requests, totalMs }) => [name, { requests, totalMs }])),
          );
        }
        expect(after.by.day.map(({ name, requests }) => [name, requests])).toEqual(
          before.by.day.map(({ name, requests }) => [name, requests]),
        );
        expect(byDay(history)).toEqual(money);
      }),
      { numRuns: 30 },
    );
  });

  test("are at most the newest 192, and days the newest 400; money goes with its day", () => {
    const history = emptyHistory();
    for (let day = 0; day < 500; day += 1) addBatch(history, batchOf(start + day * 24 * hourMs, [request("a")]));
    dropOldest(history);
    expect([history.hours.size, history.days.size]).toEqual([192, 400]);
    for (let day = 500; day < 700; day += 1) addBatch(history, batchOf(start + day * 24 * hourMs, [request("a")]));
    dropOldest(history);
    expect([history.hours.size, history.days.size, history.money.size]).toEqual([192, 400, 400]);
    expect(totalOf(history).requests).toBe(400);
  });

  test("are those of this machine's time zone, also where a day begins within an hour, and stay when it changes", () => {
    vi.stubEnv("TZ", "Asia/Kolkata");
    const history = emptyHistory();
    // 23:45 and 00:15 there are of one hour of UTC.
    for (const time of ["18:15", "18:45"])
      addBatch(history, batchOf(Date.parse(`2026-01-01T${time}:00Z`), [request("a")]));
    const report = () => totalsByDay(history, Date.parse("2026-01-01T19:00:00Z"));
    expect(report()).toEqual([
      ["2026-01-01", 1],
      ["2026-01-02", 1],
    ]);
    expect([...byDay(history).keys()]).toEqual(["2026-01-01 claude-code", "2026-01-02 claude-code"]);
    vi.stubEnv("TZ", "America/New_York");
    expect(report()).toHaveLength(2);
  });

  test("have 23 to 25 hours, each once", () => {
    vi.stubEnv("TZ", "Europe/Berlin");
    for (const [day, hours] of [
      ["2026-03-29", 23],
      ["2026-10-25", 25],
      ["2026-01-01", 24],
    ] as const) {
      const history = emptyHistory();
      const first = new Date(`${day}T00:00`).getTime();
      for (let hour = -1; hour <= hours; hour += 1) addBatch(history, batchOf(first + hour * hourMs, [request("a")]));
      const { by } = reportOf([history], first + 30 * hourMs, []);
      expect(by.day.find(({ name }) => name === day)).toMatchObject({
        requests: hours,
        history: Array.from({ length: hours }, () => 1),
      });
    }
  });

  test("of an older file, with money by quarters of an hour in UTC, are read as days", async () => {
    const texts = new Map<string, string>();
    const document = await openHistory(silent, createMemoryDocumentFiles(texts));
    const [money] = batchOf(start, [request("a")]).money;
    const old = { hour: "2026-01-01T05", rows: [], evictions: [], remote: [] };
    for (const day of ["2026-01-01T05:15", "2026-01-01T05:30", "2026-01-02"]) {
      await document.append({ ...old, money: [{ ...money, day } as MoneyTally] });
    }
    await document.close();
    const again = await openHistory(silent, createMemoryDocumentFiles(texts));
    const tokens = money?.promptTokens ?? 0;
    expect([...byDay(again.state)]).toEqual([
      ["2026-01-01 claude-code", 2 * tokens],
      ["2026-01-02 claude-code", tokens],
    ]);
  });

  test("survive a clock that was years ahead for an hour", () => {
    const history = emptyHistory();
    for (let hour = 0; hour < 300; hour += 1) addBatch(history, batchOf(start + hour * hourMs, [request("a")]));
    addBatch(history, batchOf(Date.parse("2099-01-01T00:00:00Z"), [request("a")]));
    dropOldest(history);
    expect(totalOf(history).requests).toBe(301);
  });
});

describe("bounds", () => {
  test("hold for names that a client makes up: the rest is counted together", () => {
    const history = emptyHistory();
    for (let hour = 0; hour < 3; hour += 1) {
      for (let number = 0; number < 200; number += 1) {
        const client = `client-${hour}-${number}`;
        addBatch(history, batchOf(start + hour * hourMs, [request(`model-${number}`, { client })]));
      }
    }
    dropOldest(history);
    const report = reportOf([history], start, []);
    expect(report.total.requests).toBe(600);
    for (const period of history.hours.values()) expect(period.size).toBeLessThanOrEqual(2 * 41 + 3);
    expect(report.by.client.length).toBeLessThanOrEqual(50);
    expect(report.by.client[0]?.name).toBe("other");
    expect(report.by.client.reduce((sum, { requests }) => sum + requests, 0)).toBe(600);
    // A hundred, and the others of each hour.
    expect(history.money.size).toBeLessThanOrEqual(103);
    const tokens = [...history.money.values()].reduce((sum, { promptTokens }) => sum + promptTokens, 0);
    expect(tokens).toBe(600_000);
  });

  test("hold on disk: a year of 20 models, 3 clients and 10 tasks in use every hour", async () => {
    const texts = new Map<string, string>();
    const document = await openHistory(silent, createMemoryDocumentFiles(texts));
    // 60 combinations of all names are in use in each of the last hours, and every day before, with times of all sizes.
    const days = [0, 1, 2, 3, 4].map((variant) =>
      batchOf(
        start,
        Array.from({ length: 600 }, (_, index) => {
          const number = index % 60;
          const totalMs = 200 * 1.3 ** ((index * 7919 + variant) % 23);
          const [attempt] = request(`some-model-${number % 20}:7b-instruct-q4_K_M`).attempts;
          const times = { totalMs, firstTokenMs: totalMs / 3, queueMs: totalMs / 50, loadMs: totalMs / 4 };
          return request("", {
            client: ["claude-code", "cursor", "claude-desktop"][Math.floor(number / 20)] as string,
            task: `task-${Math.floor(number / 6)}`,
            profile: `profile-${number % 10}`,
            totalMs,
            attempts: [{ ...(attempt as EndedRequest["attempts"][number]), ...times }],
          });
        }),
      ),
    );
    const first = 365 * 24 - 192;
    const hours = Array.from({ length: 365 * 24 }, (_, hour) => hour).filter(
      (hour) => hour % 24 === 0 || hour >= first,
    );
    for (const hour of hours) {
      const { rows, money, evictions, remote } = days[hour % 5] as PendingBatch;
      const at = new Date(start + hour * hourMs).toISOString();
      const own = money.map((each) => ({ ...each, day: at.slice(0, 10) }));
      addBatch(document.state, { hour: at.slice(0, 13), day: at.slice(0, 10), rows, money: own, evictions, remote });
    }
    await document.append(eventOf(batchOf(start + 365 * 24 * hourMs, [request("a")])));
    await document.close();
    const bytes = Buffer.byteLength(texts.get("metrics.json") ?? "");
    expect(texts.has("metrics.journal")).toBe(false);
    expect(bytes).toBeLessThan(10_000_000);
    const again = await openHistory(silent, createMemoryDocumentFiles(texts));
    expect(totalOf(again.state)).toEqual(totalOf(document.state));
    expect(totalOf(again.state).requests).toBe(hours.length * 600 + 1);
  }, 60_000);
});

test("what is stored is what was counted, from the document and from the journal alike", async () => {
  const texts = new Map<string, string>();
  const first = await openHistory(silent, createMemoryDocumentFiles(texts));
  const memory = { at: "2026-01-01T00:10:00.000Z", availableBytes: 5, modelBytes: 3, byType: { llama: 3 } };
  const batch = batchOf(start, [request("a"), request("b", { error: faultOf(new Error("defect")) })]);
  batch.evicted("a", "load");
  batch.sampled(memory);
  const given: Batch = batch;
  await first.append(eventOf(given));
  const journaled = await openHistory(silent, createMemoryDocumentFiles(new Map(texts)));
  await first.close();
  const folded = await openHistory(silent, createMemoryDocumentFiles(texts));
  for (const { state } of [journaled, folded]) {
    expect(reportOf([state], start, [])).toEqual(reportOf([first.state], start, []));
    expect(reportOf([state], start, [])).toMatchObject({
      total: { requests: 2, failed: 1, errors: { internal: 1 }, promptTokens: 2000 },
      evictions: [{ model: "a", kind: "load", count: 1 }],
      memory: [memory],
    });
    // The request that failed saved nothing.
    expect([...state.money.values()]).toMatchObject([{ day: "2026-01-01", promptTokens: 1000 }]);
  }
});
