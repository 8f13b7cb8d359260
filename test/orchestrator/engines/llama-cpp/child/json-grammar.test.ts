import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { JsonGrammar } from "../../../../../src/orchestrator/engines/llama-cpp/child/json-grammar.ts";
import type { JsonSchema } from "../../../../../src/orchestrator/api/types.ts";
import { engineLimitMs, installedEngine } from "../../../../support/engine.ts";

/** The part of the library that says whether a text is of a grammar. */
interface Library {
  getLlama(options: object): Promise<{
    createGrammar(options: { grammar: string }): Promise<{ _testText(text: string): boolean }>;
  }>;
}

let llama: Awaited<ReturnType<Library["getLlama"]>>;
beforeAll(async () => {
  const { modulePath } = await installedEngine();
  const library = (await import(pathToFileURL(modulePath).href)) as Library;
  llama = await library.getLlama({ build: "never", skipDownload: true, progressLogs: false, logLevel: "disabled" });
}, engineLimitMs);

async function grammarOf(schema: "json" | JsonSchema, isWhole = false) {
  const grammar = new JsonGrammar(isWhole);
  const value = grammar.valueOf(schema);
  return await llama.createGrammar({ grammar: grammar.text(value) });
}

/** A tool of a real agent: most of what schemas of agents have. */
const edit: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    file_path: { type: "string", format: "uri", minLength: 1, description: 'The "file"\nto edit' },
    edits: { type: "array", minItems: 1, items: { $ref: "#/$defs/edit" } },
    mode: { enum: ["once", "all", 3, null] },
    timeout: { type: "number", exclusiveMinimum: 0, maximum: 600_000 },
    options: { type: "object", properties: {}, additionalProperties: false },
    env: { type: "object", additionalProperties: { type: "string" } },
    note: { anyOf: [{ type: "string", pattern: "^x" }, { type: "null" }], default: null },
    anything: {},
  },
  required: ["file_path", "edits"],
  additionalProperties: false,
  $defs: {
    edit: {
      type: "object",
      properties: { old: { type: "string" }, new: { type: ["string", "null"] }, next: { $ref: "#/$defs/edit" } },
      required: ["old"],
    },
  },
};

describe("the grammar of a schema", () => {
  it.each<[string, JsonSchema, readonly string[], readonly string[]]>([
    [
      "of an agent's tool",
      edit,
      [
        '{"file_path": "a", "edits": [{"old": "x"}]}',
        '{"file_path": "ü😀\\n\\u00e9", "edits": [{"old": "x", "new": null, "next": {"old": ""}}, {"old": "y"}], "mode": 3, ' +
          '"timeout": 1.5e3, "options": {}, "env": {"A": "b", "C": "d"}, "note": "any", "anything": [1, {"a": [true]}]}',
      ],
      [
        '{"edits": [{"old": "x"}]}',
        '{"file_path": "a", "edits": []}',
        '{"file_path": "", "edits": [{"old": "x"}]}',
        '{"file_path": "a", "edits": [{"old": "x"}], "mode": "twice"}',
        '{"file_path": "a", "edits": [{"old": "x"}], "options": {"a": 1}}',
        '{"file_path": "a", "edits": [{"old": "x"}], "other": 1}',
        '{"file_path": "a", "edits": [{"new": "x"}]}',
        '{"file_path":"a", "edits": [{"old": "x"}]}',
        '{"file_path": "a", "edits": [{"old": "x"}]',
      ],
    ],
    [
      "without required properties",
      { type: "object", properties: { a: { type: "integer" }, b: { type: "boolean" }, c: { const: { d: [1, 2] } } } },
      ["{}", '{"a": -3}', '{"b": true}', '{"c": {"d": [1, 2]}}', '{"a": 0, "c": {"d": [1, 2]}}'],
      ['{"a": 1.5}', '{"a": 01}', '{"a": 82E58173}', '{"b": true, "a": 1}', '{, "b": true}'],
    ],
    ["of an object of any kind", { type: "object" }, ["{}", '{"a": [{"b": null}]}'], ["[]", '{"a"}']],
    [
      "with open properties",
      { properties: { a: { type: "string" } }, required: ["a"], additionalProperties: true },
      ['{"a": "x"}', '{"a": "x", "b": 1}'],
      ['{"b": 1}'],
    ],
    [
      "with parts in allOf and alternatives beside properties",
      {
        allOf: [{ properties: { a: { type: "string" } }, required: ["a"] }],
        properties: { b: { type: "string" }, c: { type: "string" } },
        anyOf: [{ required: ["b"] }, { required: ["c"] }],
      },
      ['{"b": "x", "a": "y"}', '{"c": "x", "a": "y"}'],
      ['{"a": "y"}', '{"b": "x"}'],
    ],
    [
      "of arrays with lengths",
      { type: "array", items: { type: "boolean" }, minItems: 2, maxItems: 3 },
      ["[true, false]", "[true, true, true]"],
      ["[true]", "[true, true, true, true]", "[]"],
    ],
    ["of a tuple", { prefixItems: [{ type: "null" }, { type: "integer" }] }, ["[null, 1]"], ["[1, null]", "[null]"]],
    ["of an array of one at most", { type: "array", maxItems: 1 }, ["[]", "[1]"], ["[1, 2]"]],
    [
      "with older definitions",
      { definitions: { a: { items: { type: "null" } } }, $ref: "#/definitions/a" },
      ["[]", "[null, null]"],
      ["{}", "[1]"],
    ],
    [
      "with dates and times",
      {
        properties: {
          day: { type: "string", format: "date" },
          at: { type: "string", format: "time" },
          both: { type: "string", format: "date-time" },
        },
      },
      ['{"day": "2026-02-28"}', '{"at": "23:59:00Z"}', '{"both": "2026-02-28T01:02:03.456+01:00"}'],
      ['{"day": "today"}', '{"day": "2026-13-01"}', '{"at": "24:00:00Z"}', '{"both": "2026-02-28"}'],
    ],
    [
      "of long texts and lists",
      { items: { type: "string", minLength: 70, maxLength: 80 }, minItems: 1, maxItems: 100 },
      [JSON.stringify(["x".repeat(80)]), `["${Array(100).fill("x".repeat(70)).join('", "')}"]`],
      ["[]", JSON.stringify(["x".repeat(81)]), JSON.stringify(["x".repeat(69)])].concat(
        `["${Array(101).fill("x".repeat(70)).join('", "')}"]`,
      ),
    ],
    [
      "of a closed tuple",
      { prefixItems: [{ type: "null" }, { type: "integer" }], items: false },
      ["[null, 1]"],
      ["[null, 1, 2]", "[null]"],
    ],
    [
      "of a tuple with a length",
      { prefixItems: [{ type: "null" }], items: { type: "integer" }, minItems: 2, maxItems: 3 },
      ["[null, 1]", "[null, 1, 2]"],
      ["[null]", "[null, 1, 2, 3]"],
    ],
    [
      "with parts of parts and a cycle",
      {
        allOf: [
          { allOf: [{ $ref: "#/$defs/a" }, { $ref: "#" }] },
          { properties: { b: { type: "integer" } }, required: ["b"] },
        ],
        $defs: { a: { properties: { a: { type: "null" } }, required: ["a"] } },
      },
      ['{"a": null, "b": 1}'],
      ['{"b": 1}', '{"a": null}', '{"a": 1, "b": 1}'],
    ],
    [
      "with a number of properties",
      { type: "object", additionalProperties: { type: "null" }, minProperties: 1, maxProperties: 2 },
      ['{"a": null}', '{"a": null, "b": null}'],
      ["{}", '{"a": null, "b": null, "c": null}', '{"a": 1}'],
    ],
    ["of a short text", { type: "string", maxLength: 2 }, ['""', '"ab"'], ['"abc"']],
  ])("%s", async (_, schema, good, bad) => {
    const grammar = await grammarOf(schema);
    for (const text of good) expect([text, grammar._testText(text)]).toEqual([text, true]);
    for (const text of bad) expect([text, grammar._testText(text)]).toEqual([text, false]);
  });

  it.each<[string, JsonSchema]>([
    ["a reference that leads nowhere", { $ref: "#/$defs/none" }],
    ["a reference to another document", { $ref: "https://example.com/schema.json" }],
    ["a type that does not exist", { type: "date" }],
    ["what is no schema", { anyOf: [7, null, true] }],
    ["an empty list of values", { enum: [] }],
    ["parts of the wrong kind", { type: "object", properties: [], required: "a", additionalProperties: [] }],
    ["negation and conditions", { not: { type: "string" }, if: {}, else: {} }],
  ])("allows any value for %s", async (_, schema) => {
    const grammar = await grammarOf(schema);
    expect(grammar._testText('{"a": [1, "x", null]}')).toBe(true);
  });

  it("of an answer has all properties unless it says which are required, and ends", async () => {
    const properties = { a: { type: "integer" }, b: { type: "integer" }, next: { $ref: "#" } };
    const open = await grammarOf({ properties }, true);
    expect(open._testText('{"a": 1, "b": 2}')).toBe(true);
    expect(open._testText('{"a": 1, "b": 2, "next": {"a": 1, "b": 2}}')).toBe(true);
    for (const text of ["{}", '{"a": 1}']) expect(open._testText(text)).toBe(false);
    const said = await grammarOf({ properties, required: ["b"] }, true);
    expect(said._testText('{"b": 2}')).toBe(true);
    expect(said._testText('{"a": 1}')).toBe(false);
  });

  it("of an answer leaves out only references that lead back", async () => {
    const properties = { a: { $ref: "#/$defs/a" }, b: { type: "integer" } };
    const grammar = await grammarOf(
      { properties, $defs: { a: { properties: { c: {}, a: { $ref: "#/$defs/a" } } } } },
      true,
    );
    expect(grammar._testText('{"a": {"c": 1}, "b": 2}')).toBe(true);
    for (const text of ['{"b": 2}', '{"a": {}, "b": 2}']) expect(grammar._testText(text)).toBe(false);
  });

  it("of a tree whose branches are described references ends", async () => {
    const branch = { allOf: [{ $ref: "#" }], description: "The rest." };
    const tree = await grammarOf({ properties: { left: branch, right: branch, a: { type: "integer" } } }, true);
    expect(tree._testText('{"a": 1}')).toBe(true);
    expect(tree._testText('{"left": {"a": 1}, "a": 1}')).toBe(true);
    const twice = { allOf: [{ $ref: "#" }, { title: "a" }] };
    expect((await grammarOf({ properties: { left: twice, right: twice } }))._testText('{"left": {}}')).toBe(true);
  });

  it('of the format "json" is that of an object', async () => {
    const grammar = await grammarOf("json");
    expect(grammar._testText('{"a": [1]}')).toBe(true);
    for (const text of ['"Hello"', "1.1e111", "[1]"]) expect(grammar._testText(text)).toBe(false);
  });

  it("of deeply nested objects ends", async () => {
    let schema: JsonSchema = { type: "string" };
    for (let depth = 0; depth < 200; depth += 1)
      schema = { type: "object", properties: { a: schema }, required: ["a"] };
    expect((await grammarOf(schema))._testText('{"a": 1}')).toBe(false);
  });
});
