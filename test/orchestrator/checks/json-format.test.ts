import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import type { JsonSchema } from "../../../src/orchestrator/api/types.ts";
import { JsonFormat, isQuick } from "../../../src/orchestrator/checks/json-format.ts";
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
function properties(levels: number): JsonSchema {
  let schema: JsonSchema = { type: "string" };
  for (let level = 1; level < levels; level += 1) schema = { properties: schema };
  return schema;
}
function lists(levels: number): unknown {
  let value: unknown = [];
  for (let level = 1; level < levels; level += 1) value = [value];
  return value;
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
    ["one that is deep in properties alone", properties(10_000), "levels; at most 32 are allowed"],
    ["lists in lists", { const: lists(10_000) }, "levels; at most 32 are allowed"],
  ])("%s", (_name, schema, message) => {
    expect(() => new JsonFormat(schema)).toThrow(InvalidRequest);
    expect(() => new JsonFormat(schema)).toThrow(message);
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
    expect(() => new JsonFormat(schema)).toThrow(InvalidRequest);
    expect(() => new JsonFormat(schema)).toThrow(message);
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
  ["alternatives without a member", { anyOf: [] }],
  ["an unused definition", { $defs: { a: self }, type: "string" }],
])("allowed: %s", (_name, schema) => {
  expect(() => new JsonFormat(schema)).not.toThrow();
});

describe("a schema that can't be used is refused, before anything is asked", () => {
  it.each<[string, JsonSchema, string]>([
    ["a reference to nothing", { $ref: "#/$defs/gone" }, 'contains nothing that "#/$defs/gone" refers to'],
    [
      "a reference to another server, which is not fetched",
      { properties: { a: { $ref: "https://example.com/a.json" } } },
      'contains nothing that "https://example.com/a.json" refers to',
    ],
    ["an unknown type", { type: "object", properties: { a: { type: "colour" } } }, 'there is no type "colour"'],
    ["an address that is none", { $id: "http://[" }, "Invalid URL"],
  ])("%s", (_name, schema, message) => {
    expect(() => new JsonFormat(schema)).toThrow(InvalidRequest);
    expect(() => new JsonFormat(schema)).toThrow(message);
  });

  it("names of properties and examples are no keywords", () => {
    const named = { type: "object", properties: { default: { type: "string" }, examples: { type: "string" } } };
    const format = new JsonFormat({ ...named, example: { type: "cat" }, examples: [{ $ref: "#/gone" }] });
    expect(format.validate({ text: '{"default": 1}', finishReason: "stop" }).problem).toContain("/default");
  });
});

const person: JsonSchema = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
};
function problemOf(format: "json" | JsonSchema, text: string, finishReason: "stop" | "length" = "stop") {
  return new JsonFormat(format).validate({ text, finishReason }).problem;
}

describe("an answer is validated", () => {
  it("accepts a matching answer", () => {
    expect(problemOf(person, '{"name": "Ada", "age": 36}')).toBeUndefined();
    expect(problemOf("json", "[1, 2]")).toBeUndefined();
  });
  it("names the places that don't match, three at most", () => {
    expect(problemOf(person, '{"name": "Ada", "age": "old"}')).toBe(
      'answered JSON that does not match the schema: /age: Instance type "string" is invalid. Expected "integer"',
    );
    expect(problemOf(person, "{}")).toContain('Instance does not have required property "name"');
    expect(problemOf({ items: { type: "null" } }, "[1, 2, 3, 4, 5]")).toContain("; 2 more");
  });
  it("does not repeat a long enum", () => {
    expect(problemOf({ enum: values(500) }, '"other"')?.length).toBeLessThan(400);
  });
  it("rejects an infinite number, which grammars allow as an integer", () => {
    expect(problemOf(person, '{"name": "Ada", "age": 82E58173}')).toContain("/age is an infinite number");
  });
  it("reports JSON that is incomplete because the tokens ran out", () => {
    const reason = "ran out of tokens before its JSON was complete";
    expect(problemOf(person, '{"name": "Ad', "length")).toBe(reason);
    expect(problemOf({ type: "integer" }, "12", "length"), "more digits may have followed").toBe(reason);
    expect(problemOf("json", '{"a": 1}   ', "length"), "a closed object is whole").toBeUndefined();
  });
  it("rejects an answer that is not JSON", () => {
    expect(problemOf("json", "Sure! {")).toContain("did not answer with valid JSON");
    expect(problemOf("json", "")).toContain("did not answer with valid JSON");
    expect(problemOf("json", "[".repeat(100_000))).toContain("nests deeper than 128 levels");
  });
  it("takes JSON out of its only code fence, with or without prose around it", () => {
    const validate = (text: string) => new JsonFormat(person).validate({ text, finishReason: "stop" });
    const json = '{"name": "Ada",\n "age": 36}';
    expect(validate(`\`\`\`json\n${json}\n\`\`\``)).toEqual({ text: json });
    expect(validate(`Here it is:\n\`\`\`\n${json}\n\`\`\`\nAnything else?`)).toEqual({ text: json });
    expect(validate(`\`\`\`json\n{"name": 1, "age": 1}\n\`\`\``).problem).toContain("/name");
    expect(validate(`\`\`\`\n${json}\n\`\`\`\nor\n\`\`\`\n${json}\n\`\`\``).problem).toBeDefined();
    expect(validate(`Here it is: ${json}`).problem).toBeDefined();
  });
  it("supports definitions like $defs, and references that recurse", () => {
    const format = { $ref: "#/definitions/Person", definitions: { Person: person } };
    expect(problemOf(format, '{"name": "Ada", "age": 36}')).toBeUndefined();
    expect(problemOf(format, '{"name": "Ada", "age": "old"}')).toContain("/age");
    const tree = { $defs: { a: { type: "object", properties: { left: self } } }, ...self };
    expect(problemOf(tree, '{"left": {"left": {}}}')).toBeUndefined();
    expect(problemOf(tree, '{"left": {"left": 1}}')).toContain("/left/left");
  });
  it("leaves the request's schema as it was", () => {
    const schema = Object.freeze({ type: "object", properties: Object.freeze({ a: Object.freeze({ $ref: "#" }) }) });
    expect(problemOf(schema, '{"a": {"a": {}}}')).toBeUndefined();
  });
});

describe("what is checked on the main thread takes milliseconds", () => {
  it.each<[string, "json" | JsonSchema]>([
    ["any JSON", "json"],
    ["an object", person],
    ["alternatives", { anyOf: [person, { type: "array", items: person }] }],
  ])("%s is", (_name, format) => {
    expect(isQuick(format, 500)).toBe(true);
    expect(isQuick(format, 20_000), "a long answer is not").toBe(false);
  });
  it.each<[string, JsonSchema]>([
    ["a pattern", { items: { type: "string", pattern: "^(a+)+$" } }],
    ["names by a pattern", { patternProperties: { "^(a+)+$": {} } }],
    ["a reference", { $defs: { a: {} }, ...self }],
    ["unique items", { uniqueItems: true }],
    ["an email", { format: "email" }],
    ["many values", { enum: values(300) }],
    ["long texts", { enum: ["d".repeat(5_000)] }],
  ])("%s is not", (_name, schema) => {
    expect(isQuick(schema)).toBe(false);
  });
  it("with the slowest schema of that size", () => {
    const numbers = (count: number) => Array.from({ length: count }, (_, index) => 1_000 + index);
    const schema = { type: "array", items: { enum: numbers(100) } };
    const text = JSON.stringify(numbers(250).map((value) => -value));
    expect(isQuick(schema, text.length)).toBe(true);
    const format = new JsonFormat(schema);
    format.validate({ text, finishReason: "stop" });
    // Measured: 3 ms. The best of a few tries, because other processes slow them down.
    const times = Array.from({ length: 5 }, () => {
      const startedAt = performance.now();
      expect(format.validate({ text, finishReason: "stop" }).problem).toContain("247 more");
      return performance.now() - startedAt;
    });
    expect(Math.min(...times)).toBeLessThan(100);
  });
});

describe("a schema", () => {
  it("a pattern that is no regular expression is left out, and named", () => {
    const format = new JsonFormat({
      type: "object",
      properties: { pattern: { type: "string", pattern: "(?i)ab" } },
      patternProperties: { "[": { type: "null" }, "^n": { type: "number" } },
    });
    expect(format.ignoredPatterns).toEqual(["(?i)ab", "["]);
    expect(format.validate({ text: '{"pattern": "x", "n": 1}', finishReason: "stop" }).problem).toBeUndefined();
    expect(format.validate({ text: '{"pattern": 1}', finishReason: "stop" }).problem).toContain("/pattern");
    expect(format.validate({ text: '{"n": "1"}', finishReason: "stop" }).problem).toContain("/n");
  });
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

it.each<[string, JsonSchema]>([
  ["a reference that never ends", { anyOf: [{ $ref: "#" }, { type: "string" }] }],
  ["keywords of a wrong type", { properties: 5, required: "x", items: 7, anyOf: {}, enum: 3 }],
])("%s is refused before an answer is generated", (_name, schema) => {
  expect(() => new JsonFormat(schema).tryOut()).toThrow(InvalidRequest);
});
