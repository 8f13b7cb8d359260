import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { validateInput } from "../../src/server/call/validate-input.ts";
import { compare } from "../../src/tools/compare.ts";
import { listModels } from "../../src/tools/list-models.ts";
import { routeAndGenerate } from "../../src/tools/route-and-generate.ts";
import { manageModel } from "../../src/tools/manage-model.ts";
import { remember } from "../../src/tools/memories.ts";
import { smartLoad } from "../../src/tools/smart-load.ts";
import { systemStatus } from "../../src/tools/system-status.ts";

describe("validateInput", () => {
  it.each([
    ["a missing field", smartLoad, {}, '"model" is required (string)'],
    ["no arguments at all", smartLoad, undefined, '"model" is required (string)'],
    ["a wrong type", routeAndGenerate, { prompt: 7 }, '"prompt" must be a string, got 7'],
    [
      "a number written as text",
      routeAndGenerate,
      { prompt: "x", max_tokens: "many" },
      '"max_tokens" must be a number, got "many"',
    ],
    ["a fraction", routeAndGenerate, { prompt: "x", max_tokens: 1.5 }, '"max_tokens" must be a whole number, got 1.5'],
    [
      "a number out of range",
      routeAndGenerate,
      { prompt: "x", temperature: 3, top_p: 0 },
      '"temperature" must be at most 2, got 3; "top_p" must be more than 0, got 0',
    ],
    [
      "an unknown choice",
      routeAndGenerate,
      { prompt: "x", complexity: "poetry" },
      '"complexity" must be one of low, medium, high, got "poetry"',
    ],
    ["an empty text", routeAndGenerate, { prompt: "" }, '"prompt" must not be empty'],
    ["a wrong element", routeAndGenerate, { prompt: "x", files: ["a", 1] }, '"files.1" must be a string, got 1'],
    [
      "none of several types",
      routeAndGenerate,
      { prompt: "x", think: 3 },
      '"think" must be a boolean or "low", "medium", "high", got 3',
    ],
    [
      "a keep-alive that is no time",
      smartLoad,
      { model: "m", keep_alive: "soon" },
      '"keep_alive" must be seconds or a duration such as "10m", got "soon"',
    ],
    ["a misspelt field", routeAndGenerate, { prompt: "x", modle: "m" }, 'unknown field "modle", did you mean "model"?'],
    [
      "a field that no other is like",
      smartLoad,
      { model: "m", zzz: 1 },
      'unknown field "zzz", allowed: model, context_tokens, keep_alive, dry_run',
    ],
    ["a field of a tool without any", systemStatus, { x: 1 }, 'unknown field "x", allowed: none'],
    ["a list", smartLoad, ["m"], 'arguments must be an object, got ["m"]'],
    [
      "a very long value",
      listModels,
      { limit: "y".repeat(500) },
      `"limit" must be a number, got "${"y".repeat(56)}...`,
    ],
  ])("names field, value and what is allowed: %s", (_name, tool, input, message) => {
    expect(() => validateInput(tool, input)).toThrow(message);
  });

  it("takes nulls as absent: models write them for fields that they leave out", () => {
    expect(validateInput(smartLoad, { model: "m", context_tokens: null })).toEqual({ model: "m" });
  });

  it("fills defaults and parses durations", () => {
    expect(validateInput(listModels, {})).toEqual({ limit: 50 });
    expect(validateInput(smartLoad, { model: "m", keep_alive: "1h" })).toEqual({ model: "m", keep_alive: 3600 });
  });

  it.each([
    ["a number", { max_tokens: "40" }, { max_tokens: 40 }],
    ["a fraction", { temperature: " 0.2 " }, { temperature: 0.2 }],
    ["a boolean", { explain: "True" }, { explain: true }],
    ["one of several types", { think: "false" }, { think: false }],
    ["a single name for a list", { files: "notes.txt" }, { files: ["notes.txt"] }],
    ["a list as JSON", { files: '["a.txt", "b.txt"]' }, { files: ["a.txt", "b.txt"] }],
    ["an object as JSON", { variables: '{"tone": "dry"}' }, { variables: { tone: "dry" } }],
    ["a schema as JSON", { format: '{"type": "object"}' }, { format: { type: "object" } }],
    [
      "a choice in another spelling",
      { privacy: "Local-Only", format: "JSON" },
      { privacy: "local_only", format: "json" },
    ],
  ])("takes a text whose meaning is plain: %s", (_what, given, taken) => {
    expect(validateInput(routeAndGenerate, { prompt: "x", ...given })).toEqual({ prompt: "x", ...taken });
  });

  it.each([
    [{ explain: "yes" }, '"explain" must be a boolean, got "yes"'],
    [{ explain: "1" }, '"explain" must be a boolean, got "1"'],
    [{ max_tokens: "4k" }, '"max_tokens" must be a number, got "4k"'],
    [{ max_tokens: "9007199254740993" }, '"max_tokens" must be a number, got "9007199254740993"'],
    [{ max_tokens: "0" }, '"max_tokens" must be at least 1, got 0'],
    [{ variables: "tone=dry" }, '"variables" must be an object, got "tone=dry"'],
  ])("guesses nothing: %j", (given, message) => {
    expect(() => validateInput(routeAndGenerate, { prompt: "x", ...given })).toThrow(message);
  });

  it("changes no text that is valid as it is", () => {
    const alike = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.json(),
      fc.constantFrom("40", "-0", "1e3", "true", "FALSE", "null", "[]", '["a"]', '{"a":1}', "auto", "yes"),
    );
    fc.assert(
      fc.property(alike, alike, (prompt, value) => {
        expect(validateInput(routeAndGenerate, { prompt, model: value, files: [value] })).toEqual({
          prompt,
          model: value,
          files: [value],
        });
        expect(validateInput(remember, { key: "k", value: prompt })).toMatchObject({ key: "k", value: prompt });
      }),
    );
  });

  it("reads numbers and booleans as JSON writes them, and no other text", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), fc.boolean(), (count, flag) => {
        const given = { prompt: "x", max_tokens: String(count), explain: String(flag) };
        expect(validateInput(routeAndGenerate, given)).toEqual({ prompt: "x", max_tokens: count, explain: flag });
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!/^\s*(?:-?\d+(?:\.\d+)?|true|false)\s*$/i.test(text));
        expect(() => validateInput(routeAndGenerate, { prompt: "x", max_tokens: text })).toThrow(
          '"max_tokens" must be',
        );
        expect(() => validateInput(routeAndGenerate, { prompt: "x", explain: text })).toThrow('"explain" must be');
      }),
    );
  });

  it.each([
    [routeAndGenerate, "text", "prompt"],
    [routeAndGenerate, "maxTokens", "max_tokens"],
    [routeAndGenerate, "response_format", "format"],
    [remember, "content", "value"],
    [smartLoad, "name", "model"],
    [compare, "question", "prompt"],
  ])("names the field that an unknown one means: %#", (tool, unknown, meant) => {
    expect(() => validateInput(tool, { [unknown]: "x" })).toThrow(
      `unknown field "${unknown}", did you mean "${meant}"?`,
    );
  });

  it("names the tool that does what manage_model does not", () => {
    for (const [action, tool] of [
      ["load", "smart_load"],
      ["list", "list_models"],
    ]) {
      expect(() => validateInput(manageModel, { action, model: "m" })).toThrow(
        expect.objectContaining({
          message: `manage_model does not ${action} models`,
          next: [{ step: "advice", text: `call ${tool}` }],
        }),
      );
    }
  });
});
