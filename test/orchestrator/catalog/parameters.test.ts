import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { checkedParameters } from "../../../src/orchestrator/views/create-model.ts";

const refusal = (given: Readonly<Record<string, unknown>>, readable?: readonly string[]) => {
  try {
    checkedParameters(given, "llama-cpp", readable);
  } catch (error) {
    if (error instanceof InvalidRequest) return [error.message, error.next] as const;
    throw error;
  }
  return undefined;
};

describe("the parameters of a created model", () => {
  it("are converted to the types that engines read", () => {
    const given = { temperature: "0.2", top_k: 20, stop: "END", use_mmap: "false", seed: "-1" };
    expect(checkedParameters(given, "ollama")).toEqual({
      temperature: 0.2,
      top_k: 20,
      stop: ["END"],
      use_mmap: false,
      seed: -1,
    });
  });

  it.each([
    ["temprature", ["temperature"]],
    ["top-p", ["top_p", "top_k"]],
    ["repeat_penality", ["repeat_penalty"]],
  ])("%s is refused with the nearest names", (name, names) => {
    expect(refusal({ [name]: 1 })).toEqual([`unknown parameter "${name}"`, [{ step: "didYouMean", names }]]);
  });

  it("names of the object prototype are refused", () => {
    expect(refusal({ constructor: 1 })?.[0]).toBe('unknown parameter "constructor"');
    expect(refusal(JSON.parse('{"__proto__": 1}') as Record<string, unknown>)?.[0]).toBe(
      'unknown parameter "__proto__"',
    );
  });

  it("that the engine doesn't support are refused, not ignored", () => {
    expect(refusal({ num_gpu: 1 }, ["seed", "top_p"])).toEqual([
      'llama-cpp does not support the parameter "num_gpu"',
      [
        { step: "advice", text: "leave it out" },
        { step: "chooseOneOf", names: ["seed", "top_p"] },
      ],
    ]);
  });

  it.each([
    ["temperature", "warm"],
    ["temperature", Number.NaN],
    ["temperature", ""],
    ["top_k", 1.5],
    ["use_mmap", 1],
    ["stop", []],
    ["stop", [1]],
    ["num_ctx", -5],
    ["temperature", "-0.1"],
    ["num_predict", -3],
  ])("%s = %j is refused: it has the wrong type or is too small", (name, value) => {
    expect(refusal({ [name]: value })?.[0]).toContain(`parameter "${name}" must be `);
  });

  it("may be negative where that has a meaning", () => {
    const given = { num_predict: -1, repeat_last_n: -1, seed: -1, num_keep: -1 };
    expect(checkedParameters(given, "ollama")).toEqual(given);
  });
});
