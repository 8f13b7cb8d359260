import { describe, expect, it } from "vitest";
import { EngineUnreachable } from "../../../src/orchestrator/api/errors.ts";
import { agreeCheck, valueKey } from "../../../src/orchestrator/checks/answer-checks.ts";
import { stepsAfterCheck } from "../../../src/orchestrator/checks/checks.ts";
import type { Candidate } from "../../../src/orchestrator/routing/candidate.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const billion = 1e9;

function candidate(model: string, parameterCount?: number, changes: Partial<Candidate> = {}): Candidate {
  return {
    model,
    engine: "one",
    sizeBytes: 0,
    trust: "local",
    isLoaded: false,
    isKnown: true,
    ...(parameterCount === undefined ? {} : { parameterCount }),
    contextTokens: 8_192,
    capabilities: ["completion"],
    profiles: [],
    fits: "now",
    expectedLoadSeconds: 1,
    ...changes,
  };
}

function left(failed: Candidate, others: readonly Candidate[]): readonly string[] {
  const waiting = others.map((each) => ({ entry: { candidate: each } }));
  return stepsAfterCheck(waiting, failed).map(({ entry }) => entry.candidate.model);
}

describe("what is left of a chain after a failed check", () => {
  const failed = candidate("middle", 3 * billion);

  it("is what is larger, in the order of the chain, then what is remote", () => {
    const cloud = candidate("cloud", undefined, { trust: "remote" });
    const others = [
      cloud,
      candidate("big", 14 * billion),
      candidate("small", billion),
      candidate("larger", 7 * billion),
    ];
    expect(left(failed, others)).toEqual(["big", "larger", "cloud"]);
  });

  it("is nothing of the same size, and not the same model on another engine", () => {
    expect(left(failed, [candidate("equal", 3 * billion), candidate("middle:latest", undefined)])).toEqual([]);
  });

  it("is decided by bytes where the parameters are unknown, and kept where the size is unknown, too", () => {
    const bytes = candidate("failed", undefined, { sizeBytes: 2 * billion });
    const more = candidate("more", billion, { sizeBytes: 3 * billion });
    const less = candidate("less", 9 * billion, { sizeBytes: billion });
    expect(left(bytes, [more, less, candidate("unknown")])).toEqual(["more", "unknown"]);
  });

  it("is no local model after a remote one, and no remote model that is not known to be larger", () => {
    const remote = (name: string, count?: number) => candidate(name, count, { trust: "remote" });
    const others = [candidate("local", 70 * billion), remote("unknown"), remote("larger", 100 * billion)];
    expect(left(remote("failed", 30 * billion), others)).toEqual(["larger"]);
  });
});

describe("short answers are compared", () => {
  it.each([
    ["Paris", "paris."],
    ["Paris", "  **Paris** \n"],
    ["twenty-one", "Twenty  one"],
    ["it's", "its"],
    ["ﬁve", "five"],
    ["cafe\u0301", "caf\u00e9"],
    ["10:30.", "10:30"],
    ["1,000", "1000"],
    ["12 km", "12km"],
    ["12 kilometres", "12 km"],
    ["3.0", "3"],
    ["20 percent", "20%"],
    ["two", "2"],
    ["The answer is 42.", "42"],
    ["the Seine", "Seine"],
    [".5", "0.50"],
    ["5 p.m.", "17:00"],
    ["1.2 million", "1,200,000"],
    ['{"a": 1, "b": "X"}', '{"b":"x","a":1.0}'],
    ["2026-01-12", "12 January 2026"],
    ["€ 1,250.50", "1250.5 EUR"],
  ])("%s is %s", (one, other) => {
    expect(valueKey(one)).toBe(valueKey(other));
  });

  it.each([
    ["1.5", "15"],
    ["foo_bar", "foobar"],
    [".5", "5"],
    ["foo-bar.ts", "foo_bar.ts"],
    ["v1.2", "v1.20"],
    ["10.0.0.1", "10.0.0.10"],
    ["€50", "$50"],
    [">=18", "18"],
    ["3/4", "4/3"],
    ["12 km", "12 m"],
    ["-5", "5"],
    ["5%", "5"],
    ["C#", "C++"],
    ["yes", "no"],
    ["не", "нет"],
  ])("%s is not %s", (one, other) => {
    expect(valueKey(one)).not.toBe(valueKey(other));
  });

  it("JSON by its values: the order of keys and the form of numbers don't count, the order of items does", () => {
    expect(valueKey('{"a": 1.0, "b": {"d": -0, "c": 1e2}}')).toBe(valueKey('{"b":{"c":100,"d":0},"a":1}'));
    expect(valueKey("[1, 2]")).not.toBe(valueKey("[2, 1]"));
    expect(valueKey('{"a":"12 km."}')).toBe(valueKey('{"a":"12km"}'));
    expect(valueKey('"a_b"')).not.toBe(valueKey('"ab"'));
    expect(valueKey('{"__proto__": 1}')).toBe('{"__proto__":1}');
  });
});

describe("the vote", () => {
  const { vote, request } = agreeCheck({ prompt: "The capital?" });

  it("needs more than half: two of four are none", () => {
    const { result } = vote([{ text: "a" }, { text: "a" }, { text: "b" }, { text: "c" }]);
    expect(result).toMatchObject({ votes: { equal: 2 }, problem: "only 2 of 4 answers agree" });
  });

  it("does not count answers that are empty or were cut as equal", () => {
    const empty = vote([{ text: "." }, { text: "" }, { text: "a" }]).result;
    expect(empty).toMatchObject({ votes: { equal: 1, others: [{ text: "an empty answer" }, {}] } });
    const cut = { text: "The capital is", isCut: true };
    expect(vote([cut, cut, { text: "a" }]).result).toMatchObject({
      problem: "2 of 3 answers were cut before their end",
    });
  });

  it("keeps a request's own limits, and lets a model think that was asked to", () => {
    expect(request).toMatchObject({ maxTokens: 64, think: false, temperature: 0.7 });
    const own = agreeCheck({ prompt: "p", maxTokens: 500, temperature: 1.2, think: true }).request;
    expect(own).toMatchObject({ maxTokens: 500, think: true, temperature: 1.2 });
    expect(agreeCheck({ prompt: "p", think: true }).request).not.toHaveProperty("maxTokens");
  });
});

it("a route that is chosen anew after a failed check has no smaller model", async () => {
  const small = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B" });
  const tiny = fakeModel("smollm2:135m", gigabyte / 8, { parameterSize: "135M" });
  const near = createFakeEngine("ollama", [small, tiny]);
  const far = createFakeEngine("far", [fakeModel("llama3.1:8b", 5 * gigabyte, { parameterSize: "8B" })]);
  const asked: string[] = [];
  near.answer = ({ model }) => {
    asked.push(model);
    return Promise.resolve({ text: model === small.name ? "[]" : "{}" });
  };
  far.answer = () => Promise.reject(new EngineUnreachable("far does not answer"));
  const { generate } = createTestOrchestrator([near, far], { settings: { model: { default: small.name } } });
  await expect(generate({ format: { type: "object" } })).rejects.toThrow("far does not answer");
  expect(asked).toEqual([small.name, small.name]);
});

it("a value of one endless word has a key in time", { timeout: 2_000 }, () => {
  expect(valueKey("я".repeat(20_000))).not.toBe("");
});
