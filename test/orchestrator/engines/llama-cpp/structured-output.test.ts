import { describe, expect, it } from "vitest";
import { GenerationFailed, InvalidRequest } from "../../../../src/orchestrator/errors.ts";
import {
  createOutputFormat,
  toGrammarSchema,
} from "../../../../src/orchestrator/engines/llama-cpp/structured-output.ts";

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

describe("what a grammar lets through is checked again", () => {
  it("accepts what matches", () => {
    expect(failureOf(person, '{"name": "Ada", "age": 36}')).toBeUndefined();
    expect(failureOf("json", "[1, 2]")).toBeUndefined();
  });
  it("refuses the infinite number that the grammar takes for an integer", () => {
    const failure = failureOf(person, '{"name": "Ada", "age": 82E58173}');
    expect(failure).toBeInstanceOf(GenerationFailed);
    expect(failure?.message).toContain("age");
    expect(failure?.next[0]).toEqual({ step: "retry" });
  });
  it("says that JSON was cut when the tokens ran out", () => {
    const failure = failureOf(person, '{"name": "Ad', "length");
    expect(failure?.message).toBe("m ran out of tokens before its JSON was complete");
    expect(failure?.next[0]).toEqual({ step: "raiseArgument", argument: "maxTokens" });
  });
  it("refuses what is no JSON at all", () => {
    expect(failureOf("json", "Sure! {")?.message).toBe("m did not answer with valid JSON");
  });
  it("a schema with definitions, as older generators write it, is checked like one with $defs", () => {
    const format = { $ref: "#/definitions/Person", definitions: { Person: person } };
    expect(failureOf(format, '{"name": "Ada", "age": 36}')).toBeUndefined();
    expect(failureOf(format, '{"name": "Ada", "age": "old"}')).toBeInstanceOf(GenerationFailed);
  });
  it("a schema that can't be checked is refused before anything is generated", () => {
    expect(() => createOutputFormat({ type: "colour" })).toThrow(InvalidRequest);
  });
});

describe("the grammar's dialect", () => {
  it.each([
    [
      "anyOf is oneOf",
      { anyOf: [{ type: "string" }, { type: "null" }] },
      { oneOf: [{ type: "string" }, { type: "null" }] },
    ],
    [
      "definitions are $defs",
      { definitions: { a: { type: "string" } }, $ref: "#/definitions/a" },
      { $defs: { a: { type: "string" } }, $ref: "#/$defs/a" },
    ],
    [
      "properties make an object",
      { properties: { a: { type: "string" } } },
      { type: "object", properties: { a: { type: "string" } } },
    ],
    [
      "items make an array",
      { items: { anyOf: [{ type: "string" }] } },
      { type: "array", items: { oneOf: [{ type: "string" }] } },
    ],
    [
      "no type is any value",
      { type: "object", properties: { a: {} } },
      { type: "object", properties: { a: { $ref: "any" } } },
    ],
    [
      "allOf is merged",
      { allOf: [{ properties: { a: { type: "string" } } }, { properties: { b: { type: "number" } } }] },
      { type: "object", properties: { a: { type: "string" }, b: { type: "number" } } },
    ],
    ["an enumeration stays", { enum: ["a", 1] }, { enum: ["a", 1] }],
  ])("%s", (_, schema, expected) => {
    expect(toGrammarSchema(schema)).toEqual(expected);
  });
});
