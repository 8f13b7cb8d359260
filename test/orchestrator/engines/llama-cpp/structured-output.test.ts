import { describe, expect, it } from "vitest";
import { toGrammarSchema } from "../../../../src/orchestrator/engines/llama-cpp/prepare-request.ts";

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
