import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import type { JsonSchema } from "../../../src/orchestrator/api/types.ts";
import { checkFormat } from "../../../src/orchestrator/generation/bounded-answer.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const values = (count: number) => Array.from({ length: count }, (_, index) => `value ${index}`);
const object = (count: number) => ({
  type: "object",
  properties: Object.fromEntries(values(count).map((name) => [name, { type: "string" }])),
});
function nested(levels: number, key: "items" | "anyOf"): JsonSchema {
  let schema: JsonSchema = { type: "string" };
  for (let level = 1; level < levels; level += 1) schema = key === "items" ? { items: schema } : { anyOf: [schema] };
  return schema;
}
const self = { $ref: "#/$defs/a" };

describe("a schema that exceeds a limit is refused with the limit and the value", () => {
  it.each<[string, JsonSchema, string]>([
    ["a huge enum", { enum: values(20_000) }, "has 20000 enum values; at most 500 are allowed"],
    [
      "an enum as alternatives",
      { anyOf: values(501).map((value) => ({ const: value })) },
      "has 501 members of anyOf, oneOf and allOf; at most 500 are allowed",
    ],
    ["several enums", { properties: { a: { enum: values(300) }, b: { enum: values(201) } } }, "has 501 enum values"],
    ["very many properties", object(2_000), "has 2000 properties; at most 500 are allowed"],
    ["a long text", { type: "string", description: "d".repeat(100_000) }, "characters; at most 100000 are allowed"],
    ["a deep one", nested(33, "items"), "has 33 levels; at most 32 are allowed"],
    ["one too deep to serialize", nested(50_000, "anyOf"), "has 50000 levels; at most 32 are allowed"],
  ])("%s", (_name, schema, message) => {
    expect(() => checkFormat(schema)).toThrow(InvalidRequest);
    expect(() => checkFormat(schema)).toThrow(message);
  });
});

describe("a schema that no finite value matches is refused", () => {
  it.each<[string, JsonSchema, string]>([
    ["a reference to itself", { $defs: { a: self }, ...self }, "#/$defs/a requires itself"],
    ["the whole schema as itself", { $ref: "#" }, "# requires itself"],
    [
      "two that require each other",
      { definitions: { a: { $ref: "#/definitions/b" }, b: { $ref: "#/definitions/a" } }, $ref: "#/definitions/a" },
      "#/definitions/a requires itself",
    ],
    [
      "a required property",
      { $defs: { a: { properties: { b: self }, required: ["b"] } }, ...self },
      "#/$defs/a requires itself",
    ],
    [
      "a list that can't be empty",
      { $defs: { a: { type: "array", items: self, minItems: 1 } }, ...self },
      "#/$defs/a requires itself",
    ],
    ["every alternative", { $defs: { a: { anyOf: [self, { allOf: [self] }] } }, ...self }, "#/$defs/a requires itself"],
  ])("%s", (_name, schema, message) => {
    expect(() => checkFormat(schema)).toThrow(InvalidRequest);
    expect(() => checkFormat(schema)).toThrow(message);
  });
});

it.each<[string, "json" | JsonSchema]>([
  ["any JSON", "json"],
  ["an object", { type: "object", properties: { a: { type: "string" } }, required: ["a"] }],
  ["an enum of 500", { enum: values(500) }],
  ["500 properties", object(500)],
  ["32 levels", nested(32, "items")],
  ["a tree", { $defs: { a: { properties: { left: self, right: self } } }, ...self }],
  ["a list of itself", { $defs: { a: { type: "array", items: self } }, ...self }],
  [
    "an alternative that ends",
    { $defs: { a: { anyOf: [{ type: "null" }, { properties: { b: self }, required: ["b"] }] } }, ...self },
  ],
  ["a reference without a target", { $ref: "#/$defs/gone" }],
  ["alternatives without a member", { anyOf: [] }],
  ["an unused definition", { $defs: { a: self }, type: "string" }],
])("allowed: %s", (_name, schema) => {
  expect(() => checkFormat(schema)).not.toThrow();
});

it("a request with a schema beyond the limits is refused before anything is loaded, and so is its plan", async () => {
  const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte)]);
  const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
  const request = { prompt: "one of them", format: { enum: values(501) } };
  const refusal = "the JSON schema has 501 enum values; at most 500 are allowed";
  await expect(generate(request)).rejects.toThrow(refusal);
  await expect(orchestrator.planGeneration(caller(), request)).rejects.toThrow(refusal);
  expect(engine.calls).toEqual([]);
});
