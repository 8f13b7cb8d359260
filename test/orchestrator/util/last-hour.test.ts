import { describe, expect, test } from "vitest";
import { LastHour } from "../../../src/orchestrator/util/last-hour.ts";

const answer = { id: "1", kind: "generate" as const, title: "", startedAt: "", isJob: false };
const state = (otherBytes: number, tokens = 0, operations = [answer]) => ({
  memory: { totalBytes: 100, availableBytes: 70, otherBytes, models: [], gpus: [] },
  operations,
  tokens,
  queue: [{ model: "m", running: 1, waiting: 2 }],
});
const history = (endsAt: number, rates: readonly (number | null)[]) => ({
  endsAt: new Date(endsAt * 1_000).toISOString(),
  modelBytes: rates.map((rate) => (rate === null ? null : 0)),
  otherBytes: rates,
  availableBytes: rates,
  tokensPerSecond: rates,
  running: rates,
  waiting: rates,
});
const rates = (samples: LastHour, now: number, seconds: number) => samples.columns(now * 1_000, seconds).otherBytes;
const tokensIn = (samples: LastHour, nowMs: number, seconds: number) => samples.columns(nowMs, seconds).tokensPerSecond;

test("states are samples by the second; while none comes nothing has changed", () => {
  const samples = new LastHour();
  samples.add(state(5), 100_200);
  samples.add(state(7), 100_900);
  samples.add(state(9), 103_000);
  expect(rates(samples, 104, 6)).toEqual([null, 7, 7, 7, 9, 9]);
  const { seconds, running, waiting, otherBytes } = samples.columns(104_000, 2);
  expect({ seconds, running, waiting, otherBytes }).toEqual({
    seconds: [103, 104],
    running: [1, 1],
    waiting: [2, 2],
    otherBytes: [9, 9],
  });
});

test("while the connection is broken nothing is known", () => {
  const samples = new LastHour();
  samples.add(state(5), 100_000);
  samples.pause(101_000);
  samples.add(state(6), 104_000);
  expect(rates(samples, 104, 5)).toEqual([5, 5, null, null, 6]);
});

test("the daemon's history fills the gap; a new daemon's does not take away what the page saw", () => {
  const samples = new LastHour();
  samples.takeHistory(history(100, [1, 2, null, 4]));
  samples.add(state(5), 101_000);
  expect(rates(samples, 101, 5)).toEqual([1, 2, null, 4, 5]);
  samples.pause(102_000);
  samples.takeHistory(history(105, [8, 9]));
  samples.add(state(9), 106_000);
  expect(rates(samples, 106, 10)).toEqual([1, 2, null, 4, 5, 5, null, 8, 9, 9]);
});

test("a page that was just opened has no gap between the daemon's history and the first state", () => {
  const samples = new LastHour();
  samples.takeHistory(history(100, [1, 2, 3]));
  expect(rates(samples, 102, 3)).toEqual([3, 3, 3]);
  samples.add(state(7), 104_000);
  expect(rates(samples, 104, 6)).toEqual([2, 3, 3, 3, 3, 7]);
});

test("an hour is kept, however long the page is open", () => {
  const samples = new LastHour();
  for (let second = 0; second < 10_000; second += 1) samples.add(state(second), second * 1_000);
  const kept = rates(samples, 9_999, 10_000).filter((rate) => rate !== null);
  expect(kept.length).toBeGreaterThanOrEqual(3_600);
  expect(kept.length).toBeLessThan(4_000);
  expect(kept.at(-1)).toBe(9_999);
});

test("a clock that was set back takes away what came after it, and no more", () => {
  const samples = new LastHour();
  for (const [second, rate] of [1, 2, 3, 4].entries()) samples.add(state(rate), (100 + second) * 1_000);
  samples.add(state(9), 101_000);
  expect(rates(samples, 103, 5)).toEqual([null, 1, 9, 9, 9]);
  samples.add(state(7), 1_000);
  expect(rates(samples, 1, 2)).toEqual([null, 7]);
});

describe("tokens per second are those that came in that second", () => {
  /** A model that writes `perSecond` from 100 s to 110 s, seen each `everyMs`, and each 3 s while it is idle. */
  function seen(perSecond: number, everyMs: number): LastHour {
    const samples = new LastHour();
    const tokensAt = (ms: number) => Math.round((Math.min(Math.max(ms - 100_000, 0), 10_000) * perSecond) / 1_000);
    for (let ms = 97_100; ms < 116_000; ms += ms < 100_000 || ms > 110_000 ? 900 : everyMs) {
      samples.add(state(0, tokensAt(ms), ms < 100_000 || ms > 110_000 ? [] : [answer]), ms);
    }
    return samples;
  }

  test.each([250, 333, 700, 1_000, 1_170])("at a steady rate, whatever the samples hit: each %i ms", (everyMs) => {
    const found = tokensIn(seen(60, everyMs), 115_500, 18) as number[];
    // From 98 s: the seconds in the middle of the answer.
    for (const rate of found.slice(4, 10)) expect(Math.abs(rate - 60)).toBeLessThanOrEqual(1);
    expect(Math.round(found.reduce((sum, rate) => sum + rate, 0))).toBe(600);
    expect([found[0], ...found.slice(-3)]).toEqual([0, 0, 0, 0]);
  });

  test("also of answers that begin and end between two samples", () => {
    const samples = new LastHour();
    samples.add(state(0, 500, []), 100_000);
    samples.add(state(0, 540, []), 103_000);
    samples.add(state(0, 540, []), 104_000);
    expect(tokensIn(samples, 104_000, 5)).toEqual([0, 0, 40, 0, 0]);
  });

  test("the second under way has the rate of the one before, and no gap when a page is opened", () => {
    const samples = new LastHour();
    samples.takeHistory(history(100, [58, 60, 60]));
    samples.add(state(0, 9_000), 100_900);
    samples.add(state(0, 9_007), 101_017);
    samples.add(state(0, 9_015), 101_150);
    expect(tokensIn(samples, 101_200, 4)).toEqual([58, 60, 60, 60]);
  });

  test("another daemon's count, and a break, begin anew", () => {
    const samples = new LastHour();
    samples.add(state(0, 500), 100_000);
    samples.add(state(0, 3), 101_000);
    samples.add(state(0, 33), 102_000);
    samples.pause(102_000);
    samples.add(state(0, 9_033), 103_000);
    samples.add(state(0, 9_053), 104_000);
    expect(tokensIn(samples, 104_000, 5)).toEqual([0, 30, 30, 20, 20]);
  });
});
