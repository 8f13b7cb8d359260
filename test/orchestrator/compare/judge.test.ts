import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Verdict, combine, ranker } from "../../../src/orchestrator/compare/judge.ts";

const answers = [
  { model: "llama3.2:3b", text: "Blue." },
  { model: "qwen2.5:7b", text: "The sky is blue." },
];

const verdict = (ranks: Readonly<Record<string, number>>): Verdict => ({
  ranks: new Map(Object.entries(ranks)),
  reason: "because",
});

describe("the prompt of the judge", () => {
  it("names no model", () => {
    const prompt = ranker.prompt("Which colour?", answers);
    expect(prompt).not.toContain("llama");
    expect(prompt).not.toContain("qwen");
    expect(prompt).toContain("<answer_A>\nBlue.\n</answer_A>");
    expect(prompt).toContain("<answer_B>\nThe sky is blue.\n</answer_B>");
  });

  it("is bounded, and marks what was cut", () => {
    const prompt = ranker.prompt("x", [{ model: "a", text: "y".repeat(50_000) }]);
    expect(prompt.length).toBeLessThan(7000);
    expect(prompt).toContain("[cut: 50000 characters in total]");
  });

  it("comes with a format of a bounded reason, then a rank per letter", () => {
    expect(Object.keys(ranker.format(2)["properties"] as object)).toEqual(["reason", "A", "B"]);
    expect(ranker.format(2)).toEqual({
      type: "object",
      properties: {
        reason: { type: "string", maxLength: 400 },
        A: { type: "integer", enum: [1, 2] },
        B: { type: "integer", enum: [1, 2] },
      },
      required: ["reason", "A", "B"],
      additionalProperties: false,
    });
  });
});

describe("a verdict", () => {
  it("has model names instead of letters", () => {
    const parsed = ranker.read('{"A":2,"B":1,"reason":"Answer B is whole, answer A is a fragment; B wins."}', answers);
    expect([...(parsed?.ranks ?? [])]).toEqual([
      ["llama3.2:3b", 2],
      ["qwen2.5:7b", 1],
    ]);
    expect(parsed?.reason).toBe("qwen2.5:7b is whole, llama3.2:3b is a fragment; qwen2.5:7b wins.");
  });

  it.each([
    ["not JSON", "I like A"],
    ["cut off", '{"A":1,"B":'],
    ["a list", "[1,2]"],
    ["a missing letter", '{"A":1,"reason":"x"}'],
    ["a rank below 1", '{"A":0,"B":1,"reason":"x"}'],
    ["a rank in words", '{"A":"best","B":1,"reason":"x"}'],
    ["no reason", '{"A":1,"B":2,"reason":" "}'],
  ])("is undefined for %s", (_what, text) => {
    expect(ranker.read(text, answers)).toBeUndefined();
  });
});

describe("verdicts of both orders", () => {
  it.each([
    [
      "agreed",
      [
        { a: 1, b: 2, c: 3 },
        { a: 1, b: 2, c: 3 },
      ],
      [["a"], ["b"], ["c"]],
      true,
    ],
    [
      "other numbers, one order",
      [
        { a: 1, b: 2 },
        { a: 1, b: 3 },
      ],
      [["a"], ["b"]],
      true,
    ],
    [
      "tied both times",
      [
        { a: 1, b: 1, c: 2 },
        { a: 1, b: 1, c: 3 },
      ],
      [["a", "b"], ["c"]],
      true,
    ],
    [
      "two that swap ranks",
      [
        { a: 1, b: 2, c: 3 },
        { a: 2, b: 1, c: 3 },
      ],
      [["a", "b"], ["c"]],
      false,
    ],
    [
      "always the first one best",
      [
        { a: 1, b: 2, c: 3 },
        { a: 3, b: 2, c: 1 },
      ],
      [["a", "b", "c"]],
      false,
    ],
    [
      "a tie once",
      [
        { a: 1, b: 1 },
        { a: 1, b: 2 },
      ],
      [["a", "b"]],
      false,
    ],
    [
      "one that moves from first to last",
      [
        { a: 1, b: 2, c: 3 },
        { b: 1, c: 2, a: 3 },
      ],
      [["a", "b", "c"]],
      false,
    ],
  ] as const)("%s", (_what, verdicts, ranking, isAgreed) => {
    expect(combine(Object.keys(verdicts[0]), verdicts.map(verdict))).toEqual({ ranking, isAgreed });
  });

  it("name every model once, and rank one above another only when both do", () => {
    const models = ["a", "b", "c", "d", "e"];
    const ranks = fc.record(Object.fromEntries(models.map((model) => [model, fc.integer({ min: 1, max: 5 })])));
    fc.assert(
      fc.property(ranks, ranks, (forward, backward) => {
        const { ranking } = combine(models, [verdict(forward), verdict(backward)]);
        expect(ranking.flat().toSorted()).toEqual(models);
        for (const [index, group] of ranking.entries()) {
          for (const worse of ranking.slice(index + 1).flat()) {
            for (const better of group) {
              expect(forward[better]).toBeLessThan(forward[worse] ?? 0);
              expect(backward[better]).toBeLessThan(backward[worse] ?? 0);
            }
          }
        }
      }),
    );
  });
});
