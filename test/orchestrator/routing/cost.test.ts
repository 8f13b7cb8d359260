import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Prices } from "../../../src/orchestrator/api/cost.ts";
import { costNanos, costOf, overBudget, totalCost, worstTokens } from "../../../src/orchestrator/routing/cost.ts";
import { formatAmount, formatCost, formatSpending } from "../../../src/orchestrator/util/format-bytes.ts";

const day = { currency: "USD", date: "2026-11-22" };
const kimi: Prices = { inputPerMillion: 0.6, cachedInputPerMillion: 0.15, outputPerMillion: 2.5, ...day };

/** Prices with up to six decimal places, as pairs with their value in millionths. */
const price = fc.integer({ min: 0, max: 500_000_000 }).map((micros) => ({ micros, price: micros / 1_000_000 }));
const tokens = fc.integer({ min: 0, max: 2_000_000 });

describe("costNanos", () => {
  it("charges input, cached input and output by their own prices", () => {
    // 700 × 0.60 + 300 × 0.15 + 41 × 2.50 millionths = 567.5 millionths.
    expect(costNanos({ promptTokens: 1_000, cachedPromptTokens: 300, completionTokens: 41 }, kimi)).toBe(567_500);
    const { cachedInputPerMillion: _none, ...plain } = kimi;
    expect(costNanos({ promptTokens: 1_000, cachedPromptTokens: 300, completionTokens: 0 }, plain)).toBe(600_000);
  });

  it("is exact, rounded up to a billionth, for all prices and tokens", () => {
    fc.assert(
      fc.property(price, price, price, tokens, tokens, tokens, (input, cached, output, prompt, hit, completion) => {
        const prices = {
          inputPerMillion: input.price,
          cachedInputPerMillion: cached.price,
          outputPerMillion: output.price,
          ...day,
        };
        const inCache = Math.min(prompt, hit);
        const exact =
          BigInt(prompt - inCache) * BigInt(input.micros) +
          BigInt(inCache) * BigInt(cached.micros) +
          BigInt(completion) * BigInt(output.micros);
        const nanos = costNanos(
          { promptTokens: prompt, cachedPromptTokens: hit, completionTokens: completion },
          prices,
        );
        expect(Number.isSafeInteger(nanos)).toBe(true);
        expect(BigInt(nanos) * 1_000n - exact).toBeGreaterThanOrEqual(0n);
        expect(BigInt(nanos) * 1_000n - exact).toBeLessThan(1_000n);
      }),
    );
  });

  it("never falls when a request grows, and the worst case covers what fits in it", () => {
    fc.assert(
      fc.property(tokens, tokens, fc.double({ min: 0, max: 1, noNaN: true }), (prompt, limit, share) => {
        const worst = worstTokens({ promptTokens: prompt, maxTokens: limit });
        const actual = {
          promptTokens: Math.floor(worst.promptTokens * share),
          completionTokens: Math.floor(limit * share),
        };
        expect(costNanos(actual, kimi)).toBeLessThanOrEqual(costNanos(worst, kimi));
      }),
    );
  });

  it("survives figures that no server should report", () => {
    for (const odd of [Number.NaN, -5, Number.POSITIVE_INFINITY]) {
      expect(costNanos({ promptTokens: odd, cachedPromptTokens: odd, completionTokens: odd }, kimi)).toBe(0);
    }
  });
});

describe("totalCost", () => {
  it("adds without drift, and is estimated if one of them is", () => {
    const tenth = costOf({ promptTokens: 0, completionTokens: 40_000 }, kimi, false);
    expect(tenth).toEqual({ amount: 0.1, ...day });
    expect(totalCost([tenth, tenth, tenth])).toEqual({ amount: 0.3, ...day });
    expect(totalCost([tenth, { ...tenth, isEstimated: true }])).toEqual({ amount: 0.2, ...day, isEstimated: true });
    expect(totalCost([])).toBeUndefined();
  });
});

describe("overBudget", () => {
  const left = { leftNanos: 2_500_000, budget: 10, prices: kimi, setting: "providers.openai[0].monthlyBudget" };
  it("lets the last request in that fits exactly, and names both amounts of the next", () => {
    expect(overBudget(left, { promptTokens: 0, completionTokens: 1_000 })).toBeUndefined();
    expect(overBudget(left, { promptTokens: 0, completionTokens: 1_001 })).toBe(
      "may cost 0.0025 USD, and 0.0025 USD of this month's budget of 10 USD are left",
    );
    expect(overBudget({ ...left, leftNanos: -5 }, { promptTokens: 0, completionTokens: 1_000_000 })).toBe(
      "may cost 2.5 USD, and 0 USD of this month's budget of 10 USD are left",
    );
  });
});

describe("amounts as text", () => {
  it("have two significant digits, at least to the cent", () => {
    expect(formatAmount(0, "USD")).toBe("0 USD");
    expect(formatAmount(10, "USD")).toBe("10 USD");
    expect(formatAmount(100, "JPY")).toBe("100 JPY");
    expect(formatAmount(12.345, "EUR")).toBe("12.35 EUR");
    expect(formatAmount(0.0012345, "USD")).toBe("0.0012 USD");
    expect(formatAmount(0.0999, "USD")).toBe("0.1 USD");
    expect(formatAmount(1e-9, "USD")).toBe("0.000000001 USD");
    expect(formatCost({ amount: 0.5, currency: "USD", isEstimated: true })).toBe("about 0.5 USD");
    expect(formatSpending({ month: "2026-11", amount: 0.5, currency: "USD", budget: 10 })).toBe(
      "0.5 USD spent in 2026-11 of a budget of 10 USD",
    );
  });
});
