import type { MoneyTally } from "../../../src/orchestrator/api/cost.ts";
import type { EndedRequest } from "../../../src/orchestrator/api/events.ts";
import { afterEach, describe, expect, test, vi } from "vitest";
import { GenerationFailed, faultOf } from "../../../src/orchestrator/api/errors.ts";
import { parseSettings } from "../../../src/orchestrator/config/problems.ts";
import { countMoney } from "../../../src/orchestrator/watch/metrics/counts.ts";
import { moneyReport, referenceOf } from "../../../src/orchestrator/views/savings.ts";
import { referencePrices } from "../../../src/orchestrator/config/schema.ts";

const now = Date.parse("2026-11-23T00:30:00Z");
const reference = {
  model: "some-model",
  promptPerMillion: 2,
  answerPerMillion: 10,
  currency: "USD",
  asOf: "2026-11-01",
};
const count = (day: string, given: Partial<MoneyTally> = {}): MoneyTally => ({
  day,
  task: "code",
  client: "claude-code",
  promptTokens: 0,
  completionTokens: 0,
  fileTokens: 0,
  paid: [],
  ...given,
});

afterEach(() => void vi.unstubAllEnvs());

const settings = (savings: object) => parseSettings({ savings }, new Map(), "config.yaml");

describe("savings", () => {
  test("are the local tokens at the reference price, less what assistants read and paid engines charged", () => {
    const { total, rows } = moneyReport(
      [
        count("2026-11-22", {
          promptTokens: 1_000_000,
          completionTokens: 100_000,
          readTokens: 125_000,
          paid: [{ currency: "USD", tokens: 3_000, nanos: 250_000_000 }],
        }),
      ],
      reference,
      now,
    );
    const tokens = { localTokens: 1_100_000, readTokens: 125_000, neverSentTokens: 0 };
    expect(total).toEqual({ total: 2.5, saved: 2.75, spent: 0.25, ...tokens });
    expect(rows).toEqual([
      { ...named, kind: "prompt", tokens: 1_000_000, pricePerMillion: 2, amount: 2 },
      { ...named, kind: "answer", tokens: 100_000, pricePerMillion: 10, amount: 1 },
      { ...named, kind: "read", tokens: 125_000, pricePerMillion: 2, amount: -0.25 },
      { ...named, kind: "cloud", tokens: 3_000, pricePerMillion: 83.333333, amount: -0.25 },
    ]);
  });

  test("are negative when paid engines charged more", () => {
    const paid = count("2026-11-23", { paid: [{ currency: "USD", tokens: 10, nanos: 5 }] });
    expect(moneyReport([paid], reference, now).today).toMatchObject({ total: -5e-9, saved: 0, spent: 5e-9 });
  });

  test("join the oldest days beyond 4,000 rows, and lose nothing", () => {
    const dayOf = (back: number): string => new Date(now - back * 86_400_000).toISOString().slice(0, 10);
    const counted = (clients: number): readonly MoneyTally[] =>
      Array.from({ length: 40 * clients }, (_, at) =>
        count(dayOf(at % 40), {
          client: `client ${Math.floor(at / 40)}`,
          promptTokens: 1_000_003 + at,
          completionTokens: 11,
          fileTokens: 2,
          paid: [{ currency: at % 3 === 0 ? "EUR" : "USD", nanos: 7, tokens: 1 }],
        }),
      );
    for (const clients of [10, 50, 400]) {
      const counts = counted(clients);
      const { rows, today, month, total } = moneyReport(counts, reference, now);
      expect(rows.length).toBeLessThanOrEqual(4_000);
      const nanos = (prefix: string): number =>
        rows
          .filter(({ day, currency }) => day.startsWith(prefix) && currency === undefined)
          .reduce((sum, { amount }) => sum + Math.round(amount * 1e9), 0);
      for (const [sum, prefix] of [
        [today, "2026-11-23"],
        [month, "2026-11"],
        [total, ""],
      ] as const) {
        const own = counts.filter(({ day }) => day.startsWith(prefix));
        const tokens = own.reduce((all, each) => all + each.promptTokens + each.completionTokens, 0);
        expect(nanos(prefix) / 1e9).toBe(sum.total);
        expect([sum.localTokens, sum.neverSentTokens]).toEqual([tokens, own.length * 2]);
      }
      // The newest keep their days for as long as there is room.
      const days = new Set(rows.map(({ day }) => day));
      expect(days.has("2026-11-23")).toBe(true);
      expect(days.has("2026-11-22")).toBe(clients < 400);
      expect(days.has("2026-10")).toBe(clients > 10);
      expect(rows.some(({ client }) => client === "other")).toBe(clients === 400);
    }
  });

  test.each([
    ["UTC", "2026-11-23T00:00:00.000Z", [1, 4, 5]],
    ["Asia/Kolkata", "2026-11-22T18:30:00.000Z", [1, 4, 5]],
    ["America/New_York", "2026-11-22T05:00:00.000Z", [2, 4, 5]],
  ])("are summed by the days and months of this machine: %s", (zone, from, sums) => {
    vi.stubEnv("TZ", zone);
    const days = ["2026-10-31", "2026-11-01", "2026-11-22", "2026-11-22", "2026-11-23"];
    const counts = days.map((day) => count(day, { promptTokens: 500_000 }));
    const { today, month, total, rows } = moneyReport(counts, reference, now);
    expect([today, month, total].map((sum) => sum.total)).toEqual(sums);
    expect(today.from).toBe(from);
    expect(rows.map(({ day, amount }) => [day, amount])).toEqual([
      ["2026-10-31", 1],
      ["2026-11-01", 1],
      ["2026-11-22", 2],
      ["2026-11-23", 1],
    ]);
  });

  test("count tokens that were never sent apart: they add nothing to any amount", () => {
    const without = moneyReport([count("2026-11-23", { promptTokens: 10 })], reference, now);
    const read = count("2026-11-23", { promptTokens: 10, fileTokens: 7 });
    const { today, rows } = moneyReport([read], reference, now);
    expect(today).toEqual({ ...without.today, neverSentTokens: 7 });
    expect(rows).toEqual(without.rows);
  });

  test("leave comparisons out: a cloud model would not have been asked several times", () => {
    const compared = count("2026-11-23", {
      task: "compare",
      promptTokens: 1_000,
      completionTokens: 1_000,
      paid: [{ currency: "USD", tokens: 10, nanos: 7 }],
    });
    expect(moneyReport([compared], reference, now).total).toMatchObject({ saved: 0, spent: 7e-9, localTokens: 0 });
  });

  test("don't add currencies: charges in another one are listed, and are not subtracted", () => {
    const { total, rows } = moneyReport(
      [
        count("2026-11-23", {
          promptTokens: 1_000,
          paid: [
            { currency: "USD", tokens: 10, nanos: 1_000 },
            { currency: "CNY", tokens: 20, nanos: 7_000_000_000 },
          ],
        }),
      ],
      reference,
      now,
    );
    expect(total).toMatchObject({ spent: 0.000001, otherSpent: [{ currency: "CNY", amount: 7 }] });
    expect(rows.map(({ kind, currency, amount }) => [kind, currency, amount])).toEqual([
      ["prompt", undefined, 0.002],
      ["cloud", undefined, -0.000001],
      ["cloud", "CNY", -7],
    ]);
  });

  test("add up exactly: the sum is that of the rows, whatever the price", () => {
    const odd = { ...reference, promptPerMillion: 0.1, answerPerMillion: 1.234567 };
    const counts = Array.from({ length: 1_000 }, (_, index) =>
      count("2026-11-23", { client: `c${index}`, promptTokens: 3 * index + 1, completionTokens: 7 * index + 3 }),
    );
    const { month, rows } = moneyReport(counts, odd, now);
    const billionths = rows.reduce((sum, { amount }) => sum + BigInt(amount.toFixed(9).replace(".", "")), 0n);
    expect(BigInt(month.total.toFixed(9).replace(".", ""))).toBe(billionths);
    for (const { tokens, pricePerMillion, amount } of rows) {
      expect(Math.abs((tokens * pricePerMillion) / 1e6 - amount)).toBeLessThan(6e-10);
    }
  });

  test("come with their formula: prices, their model and date, and that another price changes the past", () => {
    const { formula, rows, today } = moneyReport([], reference, now);
    expect({ formula, rows, today }).toMatchInlineSnapshot(`
      {
        "formula": "saved = (local prompt tokens × 2 USD + local answer tokens × 10 USD - tokens of answers that assistants read × 2 USD) ÷ 1,000,000 - what paid engines charged in USD; comparisons save nothing. List prices of some-model on 2026-11-01; another price applies to all days. Days and months are those of this machine's time zone.",
        "rows": [],
        "today": {
          "day": "2026-11-23",
          "from": "2026-11-23T00:00:00.000Z",
          "localTokens": 0,
          "neverSentTokens": 0,
          "readTokens": 0,
          "saved": 0,
          "spent": 0,
          "total": 0,
        },
      }
    `);
  });
});

describe("what money is computed from", () => {
  const attempt = { model: "m", engine: "e", isLocal: true, totalMs: 1, promptTokens: 100, completionTokens: 10 };
  const cloud = { ...attempt, isLocal: false, charge: { amount: 0.25, currency: "USD", tokens: 110 } };
  const counted = (request: Partial<EndedRequest>): readonly MoneyTally[] => {
    const tallies: MoneyTally[] = [];
    const ended = { client: "c", task: "code", profile: "p", totalMs: 1, fallbacks: 0, attempts: [], fileTokens: 0 };
    countMoney({ ...ended, ...request }, (task, client) => {
      tallies.push({ day: "2026-11-23", task, client, promptTokens: 0, completionTokens: 0, fileTokens: 0, paid: [] });
      return tallies.at(-1) as MoneyTally;
    });
    return tallies;
  };

  test("are the tokens of an answered request, and what a fallback charged", () => {
    expect(counted({ attempts: [attempt, cloud], fileTokens: 5 })).toMatchObject([
      { promptTokens: 100, completionTokens: 10, paid: [{ currency: "USD", nanos: 250_000_000, tokens: 110 }] },
    ]);
  });

  test("are only the charges of a request that failed: it saved nothing", () => {
    const error = faultOf(new GenerationFailed("no answer passed"));
    expect(counted({ attempts: [attempt], fileTokens: 0, error })).toEqual([]);
    expect(counted({ attempts: [attempt, cloud], fileTokens: 0, error })).toMatchObject([
      { promptTokens: 0, completionTokens: 0, fileTokens: 0, paid: [{ nanos: 250_000_000 }] },
    ]);
  });
});

const named = { day: "2026-11-22", task: "code", client: "claude-code" };

describe("the reference price", () => {
  test("is that of the named model, with its date", () => {
    expect(referenceOf(settings({ referenceModel: "kimi-k3" }))).toEqual({
      model: "kimi-k3",
      promptPerMillion: 3,
      answerPerMillion: 15,
      asOf: "2026-07-18",
      currency: "USD",
    });
    expect(referenceOf(settings({})).model).toBe("claude-sonnet-5-5");
  });

  test("is the user's own if both prices are set", () => {
    const own = referenceOf(settings({ promptPerMillion: 1.5, answerPerMillion: 6 }));
    expect(own).toEqual({ model: "own prices", promptPerMillion: 1.5, answerPerMillion: 6, currency: "USD" });
    expect(moneyReport([], own, now).formula).toContain("× 1.5 USD");
  });

  test.each([
    [{ referenceModel: "claude-sonet-5-5" }, /its price is not known; did you mean claude-sonnet-5-5/],
    [{ referenceModel: "my-model" }, /Known are .*kimi-k3.*set promptPerMillion and answerPerMillion/],
    [{ promptPerMillion: 1 }, /savings.promptPerMillion is 1: set promptPerMillion and answerPerMillion, both/],
    [{ answerPerMillion: 1 }, /savings.answerPerMillion is 1: set promptPerMillion and answerPerMillion, both/],
    [{ currency: "EUR" }, /savings\.currency is not a setting/],
  ])("is rejected with what to do: %j", (savings, message) => {
    expect(() => settings(savings)).toThrow(message);
  });

  test.each([...referencePrices])("is dated, and exact in billionths: %s", (_model, price) => {
    expect(price.asOf).toMatch(/^2026-\d\d-\d\d$/);
    expect(price.source).toMatch(/^[a-z.-]+\.(?:com|dev|ai)\//);
    for (const each of [price.promptPerMillion, price.answerPerMillion]) expect((each * 1_000) % 1).toBe(0);
  });
});
