import { expect, test } from "vitest";
import { LastHour } from "../../../src/orchestrator/util/last-hour.ts";

const state = (tokensPerSecond: number) => ({
  memory: { totalBytes: 100, availableBytes: 70, otherBytes: 30, models: [], gpus: [] },
  operations: [
    { id: "1", kind: "generate" as const, title: "", startedAt: "", isJob: false, tokensPerSecond },
    { id: "2", kind: "pull" as const, title: "", startedAt: "", isJob: false },
  ],
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
const rates = (samples: LastHour, now: number, seconds: number) =>
  samples.columns(now * 1_000, seconds).tokensPerSecond;

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
    otherBytes: [30, 30],
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
