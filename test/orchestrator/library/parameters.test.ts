import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/errors.ts";
import { checkedParameters } from "../../../src/orchestrator/library/parameters.ts";

const refusal = (given: Readonly<Record<string, unknown>>, readable?: readonly string[]) => {
  try {
    checkedParameters(given, "llama-cpp", readable);
  } catch (error) {
    if (error instanceof InvalidRequest) return [error.message, error.hint];
    throw error;
  }
  return undefined;
};

describe("the parameters of a model that is made", () => {
  it("become what engines read, whether given as text or not", () => {
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
    ["temprature", "did you mean temperature?"],
    ["top-p", "did you mean top_p or top_k?"],
    ["repeat_penality", "did you mean repeat_penalty?"],
  ])("%s is answered with the nearest name", (name, hint) => {
    expect(refusal({ [name]: 1 })).toEqual([`there is no parameter ${name}`, hint]);
  });

  it("nothing that only looks like a name passes", () => {
    expect(refusal({ constructor: 1 })?.[0]).toBe("there is no parameter constructor");
    expect(refusal(JSON.parse('{"__proto__": 1}') as Record<string, unknown>)?.[0]).toBe(
      "there is no parameter __proto__",
    );
  });

  it("that the engine doesn't obey are refused, not ignored", () => {
    expect(refusal({ num_gpu: 1 }, ["seed", "top_p"])).toEqual([
      "llama-cpp does not read the parameter num_gpu",
      "leave it out; llama-cpp reads seed, top_p",
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
  ])("%s = %j has the wrong type or is too small, which is said", (name, value) => {
    expect(refusal({ [name]: value })?.[0]).toContain(`the parameter ${name} is`);
  });

  it("below nothing stay what they mean to the engine", () => {
    const given = { num_predict: -1, repeat_last_n: -1, seed: -1, num_keep: -1 };
    expect(checkedParameters(given, "ollama")).toEqual(given);
  });
});
