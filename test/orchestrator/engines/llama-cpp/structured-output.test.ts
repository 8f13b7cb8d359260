import { describe, expect, it } from "vitest";
import { GenerationFailed, InvalidRequest } from "../../../../src/orchestrator/api/errors.ts";
import { createOutputFormat, toGrammarSchema } from "../../../../src/orchestrator/engines/llama-cpp/prepare-request.ts";

const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
};
const failureOf = (
  format: Parameters<typeof createOutputFormat>[0],
  text: string,
  finishReason: "stop" | "length" = "stop",
) => {
  try {
    createOutputFormat(format).check("m", { text, finishReason });
    return undefined;
  } catch (error) {
    return error as GenerationFailed;
  }
};

describe("an answer with a grammar is validated", () => {
  it("accepts a matching answer", () => {
    expect(failureOf(person, '{"name": "Ada", "age": 36}')).toBeUndefined();
    expect(failureOf("json", "[1, 2]")).toBeUndefined();
  });
  it("rejects an infinite number, which the grammar allows as an integer", () => {
    const failure = failureOf(person, '{"name": "Ada", "age": 82E58173}');
    expect(failure).toBeInstanceOf(GenerationFailed);
    expect(failure?.message).toContain("age");
    expect(failure?.next[0]).toEqual({ step: "retry" });
  });
  it("reports JSON that is incomplete because the tokens ran out", () => {
    const failure = failureOf(person, '{"name": "Ad', "length");
    expect(failure?.message).toBe("m ran out of tokens before its JSON was complete");
    expect(failure?.next[0]).toEqual({ step: "raiseArgument", argument: "maxTokens" });
  });
  it("rejects an answer that is not JSON", () => {
    expect(failureOf("json", "Sure! {")?.message).toBe("m did not answer with valid JSON");
  });
  it("supports definitions like $defs", () => {
    const format = { $ref: "#/definitions/Person", definitions: { Person: person } };
    expect(failureOf(format, '{"name": "Ada", "age": 36}')).toBeUndefined();
    expect(failureOf(format, '{"name": "Ada", "age": "old"}')).toBeInstanceOf(GenerationFailed);
  });
  it("rejects an unsupported schema before the generation", () => {
    expect(() => createOutputFormat({ type: "colour" })).toThrow(InvalidRequest);
  });
});

describe("the schema of a grammar", () => {
  it.each([
    [
      "has oneOf for anyOf",
      { anyOf: [{ type: "string" }, { type: "null" }] },
      { oneOf: [{ type: "string" }, { type: "null" }] },
    ],
    [
      "has $defs for definitions",
      { definitions: { a: { type: "string" } }, $ref: "#/definitions/a" },
      { $defs: { a: { type: "string" } }, $ref: "#/$defs/a" },
    ],
    [
      "is an object if it has properties",
      { properties: { a: { type: "string" } } },
      { type: "object", properties: { a: { type: "string" } } },
    ],
    [
      "is an array if it has items",
      { items: { anyOf: [{ type: "string" }] } },
      { type: "array", items: { oneOf: [{ type: "string" }] } },
    ],
    [
      "allows any value without a type",
      { type: "object", properties: { a: {} } },
      { type: "object", properties: { a: { $ref: "any" } } },
    ],
    [
      "merges allOf",
      { allOf: [{ properties: { a: { type: "string" } } }, { properties: { b: { type: "number" } } }] },
      { type: "object", properties: { a: { type: "string" }, b: { type: "number" } } },
    ],
    ["keeps an enumeration", { enum: ["a", 1] }, { enum: ["a", 1] }],
  ])("%s", (_, schema, expected) => {
    expect(toGrammarSchema(schema)).toEqual(expected);
  });
});
