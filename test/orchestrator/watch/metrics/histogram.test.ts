import fc from "fast-check";
import { expect, test } from "vitest";
import {
  countOf,
  cumulative,
  histogramOf as read,
  histogramText,
  mergeHistogram,
  percentileMs,
  record,
} from "../../../../src/orchestrator/watch/metrics/counts.ts";

const durations = fc.array(fc.double({ min: 1, max: 16_000_000, noNaN: true }), { minLength: 1, maxLength: 200 });

function histogramOf(values: readonly number[]): number[] {
  const histogram: number[] = [];
  for (const value of values) record(histogram, value);
  return histogram;
}

test("a percentile is never below the duration of its rank, and at most 9.1 % above", () => {
  fc.assert(
    fc.property(durations, fc.constantFrom(0.5, 0.95), (values, share) => {
      const exact = values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(values.length * share)) - 1] as number;
      const found = percentileMs(histogramOf(values), share);
      // Shown with a decimal below 100 ms, else without.
      const rounding = found < 100 ? 0.05 : 0.5;
      expect(found).toBeGreaterThanOrEqual(exact - rounding);
      expect(found).toBeLessThanOrEqual(exact * 1.0906 + rounding);
    }),
  );
});

test("merged histograms are that of all durations, in any order", () => {
  fc.assert(
    fc.property(durations, durations, (some, others) => {
      const merged = histogramOf(some);
      mergeHistogram(merged, histogramOf(others));
      expect(merged).toEqual(histogramOf([...others, ...some]).map((value, at) => (at === 0 ? merged[0] : value)));
      expect(countOf(merged)).toBe(some.length + others.length);
      // Each is rounded to a millisecond.
      const sum = [...some, ...others].reduce((total, value) => total + value, 0);
      expect(Math.abs((merged[0] as number) - sum)).toBeLessThanOrEqual((some.length + others.length) / 2 + 1e-3);
    }),
  );
});

test("its text is read as it was written, and is short", () => {
  fc.assert(
    fc.property(durations, (values) => {
      expect(read(histogramText(histogramOf(values)))).toEqual(histogramOf(values));
    }),
  );
  expect(histogramText(histogramOf([300, 310, 900, 16_000_000]))).toBe("16001510CO1B1M1EJ1");
  expect([read(""), read("nonsense"), histogramText([])]).toEqual([[], [], ""]);
});

test("the cumulative bounds count exactly what is at most 1, 2, 4, ... ms", () => {
  fc.assert(
    fc.property(durations, (values) => {
      for (const { upToMs, count } of cumulative(histogramOf(values))) {
        expect(count, String(upToMs)).toBe(values.filter((value) => value <= upToMs * (1 + 1e-9)).length);
      }
    }),
  );
  expect(
    cumulative(histogramOf([1, 2, 4, 8]))
      .slice(0, 5)
      .map(({ count }) => count),
  ).toEqual([1, 2, 3, 4, 4]);
});

test("what is no duration counts as none, and days as the longest bucket", () => {
  const odd = histogramOf([Number.NaN, -5, Number.POSITIVE_INFINITY, 0]);
  expect([countOf(odd), odd[0], percentileMs(odd, 0.95)]).toEqual([4, 0, 1]);
  expect(cumulative(histogramOf([1e12])).at(-1)?.count).toBe(1);
  expect(percentileMs([], 0.5)).toBe(0);
});
