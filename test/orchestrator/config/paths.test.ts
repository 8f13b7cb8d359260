import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatPath, parsePath, settingPaths } from "../../../src/orchestrator/config/paths.ts";
import { settingsSchema } from "../../../src/orchestrator/config/schema.ts";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";

const parse = (text: string) => parsePath(settingsSchema, text);

describe("parsePath", () => {
  it.each([
    ["options.temperature", ["options", "temperature"], "number"],
    [" files.roots ", ["files", "roots"], "list"],
    ["options", ["options"], "section"],
    ["models", ["models"], "record"],
    ['models["qwen*"].contextTokens', ["models", "qwen*", "contextTokens"], "number"],
    ["models['qwen*'].contextTokens", ["models", "qwen*", "contextTokens"], "number"],
    // A shell removes the quotes.
    ["models[qwen*].contextTokens", ["models", "qwen*", "contextTokens"], "number"],
    ["models.qwen2.5:7b.options.topP", ["models", "qwen2.5:7b", "options", "topP"], "number"],
    ["models.llama3.2:1b.system", ["models", "llama3.2:1b", "system"], "string"],
    ["models.qwen*", ["models", "qwen*"], "section"],
    ['models["a\\"b[1]"].keepAlive', ["models", 'a"b[1]', "keepAlive"], "number"],
    ["model.routing.overrides.code", ["model", "routing", "overrides", "code"], "string"],
    ['model["default"]', ["model", "default"], "string"],
  ])("reads %s", (text, path, type) => {
    expect(parse(text)).toMatchObject({ path, type });
  });

  it.each([
    ["optoins.temperature", '"optoins.temperature" is not a setting; did you mean options.temperature?'],
    ["modle", '"modle" is not a setting; did you mean model?'],
    [
      'models["qwen*"].contextToken',
      '"models[\\"qwen*\\"].contextToken" is not a setting; did you mean models["qwen*"].contextTokens?',
    ],
    ["", '"" is not a setting'],
    ["options..topP", '"options..topP" is not a setting; did you mean options.topP?'],
    ["models[qwen", '"models[qwen" is not a setting; did you mean models?'],
    ["__proto__.x", '"__proto__.x" is not a setting'],
    ["constructor", '"constructor" is not a setting'],
    ["models.__proto__.system", '"models.__proto__.system" is not a setting'],
  ])("rejects %s and names the nearest", (text, message) => {
    expect(() => parse(text)).toThrow(InvalidRequest);
    expect(() => parse(text)).toThrow(message);
  });

  it("parses every formatted path, whatever the pattern", () => {
    for (const { path } of settingPaths(settingsSchema)) expect(parse(formatPath(path)).path).toEqual(path);
    const key = fc.string({ minLength: 1, unit: "binary" }).filter((text) => text !== "__proto__");
    fc.assert(
      fc.property(key, key, (pattern, task) => {
        for (const path of [
          ["models", pattern, "options", "maxTokens"],
          ["model", "routing", "overrides", task],
        ]) {
          expect(parse(formatPath(path)).path).toEqual(path);
        }
      }),
    );
  });

  it("throws nothing else, whatever the text", () => {
    const piece = fc.constantFrom("models", ".", "[", "]", '"', "'", "\\", "qwen*", "options", "topP", "");
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        try {
          expect(parse(pieces.join("")).path.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidRequest);
        }
      }),
      { numRuns: 500 },
    );
  });
});
