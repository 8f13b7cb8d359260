import { describe, expect, it } from "vitest";
import type { EvalCase } from "../../../src/orchestrator/api/facade-compare.ts";
import { decidedBy, scoreOf, signTest, verdictOf, wilson } from "../../../src/orchestrator/compare/eval-score.ts";
import { formatShare } from "../../../src/orchestrator/util/format-bytes.ts";

const validates = () => Promise.resolve({});

describe("an answer", () => {
  it.each<[string, unknown, boolean]>([
    ["51.", 51, true],
    ["The answer is 51", "51", true],
    ["1,000", 1000, true],
    ["12 km", "12km", true],
    ["```\n51\n```", 51, true],
    ["```js\ns.length\n```", "s.length", true],
    ['{"year": 2007, "city": "lisbon"}', { city: "Lisbon", year: 2007 }, true],
    ["true", true, true],
    ["", "", true],
    ["", "x", false],
    ["151", 51, false],
    ["51 or 52", 51, false],
    ["foobar", "foo_bar", false],
    ["-5", 5, false],
    ["0.5", 5, false],
    ["The capital is Paris.", "Paris", false],
  ])("%j for %j: the same value %s", async (text, value, isRight) => {
    expect((await scoreOf(text, [{ type: "equals", value }], validates)).isRight).toBe(isRight);
  });

  it("is right only if all holds, and not known if something can't be checked", async () => {
    const unknown = { type: "regex", value: "x" } as const;
    const has = { type: "contains", value: "a" } as const;
    expect(await scoreOf("a", [has, { type: "contains", value: "b" }], validates)).toEqual({
      isRight: false,
      why: 'does not contain "b"',
    });
    expect(await scoreOf("a", [unknown, has], () => Promise.resolve({ why: "too slow" }))).toEqual({ why: "too slow" });
    expect((await scoreOf("b", [unknown, has], validates)).isRight).toBe(false);
    expect(await scoreOf("a", [{ ...has, isNot: true }], validates)).toEqual({ isRight: false, why: 'contains "a"' });
    expect((await scoreOf("a", [], validates)).isRight).toBe(true);
  });

  it.each<[Partial<EvalCase>, string]>([
    [{ expects: [] }, "nothing"],
    [{ expects: [], format: "json" }, "format"],
    [{ expects: [{ type: "json" }] }, "format"],
    [{ expects: [{ type: "equals", value: 1 }], format: "json" }, "values"],
    [{ expects: [{ type: "equals", value: 1 }], check: "quotes" }, "quotes"],
    [
      {
        expects: [
          { type: "equals", value: 1 },
          { type: "judge", value: "x" },
        ],
      },
      "judge",
    ],
  ])("of %j is decided by %s", (given, by) => {
    expect(decidedBy({ name: "", prompt: "", expects: [], ...given })).toBe(by);
  });
});

describe("figures", () => {
  it.each([
    [9, 12, 0.4677, 0.9111],
    [0, 10, 0, 0.2775],
    [10, 10, 0.7225, 1],
    [8, 10, 0.4902, 0.9433],
    [1, 1, 0.2065, 1],
  ])("of %i of %i lie between %f and %f", (right, total, low, high) => {
    const found = wilson(right, total);
    expect(found.low).toBeCloseTo(low, 3);
    expect(found.high).toBeCloseTo(high, 3);
    // A bound is the share of which what was seen is 1.96 standard errors away.
    const errors = (bound: number) => Math.abs(found.share - bound) / Math.sqrt((bound * (1 - bound)) / total);
    for (const bound of [found.low, found.high].filter((each) => each > 0 && each < 1)) {
      expect(errors(bound)).toBeCloseTo(1.96, 6);
    }
  });

  it("of all of many are not shown as certain", () => {
    const { low, high } = wilson(10_000, 10_000);
    expect([0, 1 - low, 0.614, low, high].map(formatShare)).toEqual(["0 %", "1 %", "61 %", "99 %", "100 %"]);
  });

  it.each([
    [0, 0, 1],
    [5, 5, 1],
    [5, 0, 0.0625],
    [6, 0, 0.03125],
    [9, 1, 22 / 1024],
    [5200, 4800, 0.00007],
  ])("%i against %i have the probability %f by chance", (wins, losses, p) => {
    expect(signTest(wins, losses)).toBeCloseTo(p, 4);
    expect(signTest(losses, wins)).toBeCloseTo(p, 4);
  });
});

describe("a verdict", () => {
  const model = (name: string, right: string) => ({
    model: name,
    right: new Map(right.split("").flatMap((each, at) => (each === " " ? [] : [[at, each === "+"] as const]))),
  });

  it.each<[string, readonly (readonly [string, string])[], string | undefined, RegExp]>([
    [
      "six alone",
      [
        ["a", "++++++"],
        ["b", "------"],
      ],
      "a",
      /^a is better than b: 6 cases that only it got right, 0 that only b did \(p = 0\.031\)$/,
    ],
    [
      "five alone",
      [
        ["a", "+++++"],
        ["b", "-----"],
      ],
      undefined,
      /^no difference can be seen between a and b with 5 cases$/,
    ],
    [
      "both the same",
      [
        ["a", "+++---"],
        ["b", "+++---"],
      ],
      undefined,
      /^no difference/,
    ],
    [
      "six alone, of three models",
      [
        ["a", "++++++"],
        ["b", "------"],
        ["c", "------"],
      ],
      undefined,
      /^no difference can be seen between a and b, or c/,
    ],
    [
      "seven alone, of three",
      [
        ["a", "+++++++"],
        ["b", "-------"],
        ["c", "-------"],
      ],
      "a",
      /a is better than b: .*; a is better than c/,
    ],
    [
      "one equal, one worse",
      [
        ["b", "--------"],
        ["a", "++++++++"],
        ["c", "++++++++"],
      ],
      undefined,
      /^no difference can be seen between a and c with 8 cases; a is better than b/,
    ],
    [
      "only cases that both were asked",
      [
        ["a", "++++++   "],
        ["b", "      ---"],
      ],
      undefined,
      /with 0 cases$/,
    ],
    [
      "one that was asked little, and got it right",
      [
        ["a", "+                   "],
        ["b", "++++++++++++++++++--"],
        ["c", "--------------------"],
      ],
      undefined,
      /^no difference can be seen between b and a with 1 case; b is better than c/,
    ],
    [
      "one that is better where it was asked",
      [
        ["a", "++++++++++            "],
        ["b", "----------++++++++++++"],
        ["c", "          ------------"],
        ["d", "          ------------"],
      ],
      undefined,
      /^b is better than c: .*; b is better than d: .*; a is better than b: 10 cases/,
    ],
    [
      "one without answers",
      [
        ["a", "++"],
        ["b", ""],
      ],
      undefined,
      /^only a was scored/,
    ],
  ])("on %s", (_what, given, winner, text) => {
    const found = verdictOf(given.map(([name, right]) => model(name, right)));
    expect(found?.winner).toBe(winner);
    expect(found?.text).toMatch(text);
  });

  it("names a difference between equally good models in one of twenty verdicts at most", () => {
    let state = 1;
    const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    const verdicts = Array.from({ length: 200 }, () =>
      verdictOf(
        Array.from({ length: 10 }, (_, index) =>
          model(`m${index}`, Array.from({ length: 100 }, () => (random() < 0.5 ? "+" : "-")).join("")),
        ),
      ),
    );
    expect(verdicts.filter((found) => found?.text.includes("is better than")).length).toBeLessThanOrEqual(10);
  });

  it("on one model is none", () => {
    expect(verdictOf([model("a", "+++")])).toBeUndefined();
  });
});
