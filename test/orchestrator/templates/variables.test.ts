import { describe, expect, it } from "vitest";
import { piecesOf, valuesOf, variablesOf } from "../../../src/orchestrator/templates/render.ts";

type DeclaredVariable = Parameters<typeof variablesOf>[0][number];

function found(declared: readonly DeclaredVariable[], text: string, system = "") {
  return variablesOf(declared, { template: piecesOf(text), system: piecesOf(system) });
}

/** The template's variables. Fails the test for an invalid template. */
function template(declared: readonly DeclaredVariable[], text: string) {
  const read = found(declared, text);
  if ("problem" in read) throw new Error(read.problem);
  return { name: "t", variables: read.variables };
}

describe("the variables of a template", () => {
  it("are the declared ones in their order, then those of the text and the system prompt", () => {
    expect(found([{ name: "c" }, { name: "a", default: "1", type: "number" }], "{a} {b:} {c}", "{d}")).toEqual({
      variables: [
        { name: "c", type: "string", isRequired: true },
        { name: "a", type: "number", isRequired: false, default: "1" },
        { name: "b", type: "string", isRequired: false, default: "" },
        { name: "d", type: "string", isRequired: true },
      ],
    });
  });

  it.each<[string, DeclaredVariable[], string, boolean, string | undefined]>([
    ["undeclared, without a default", [], "{a}", true, undefined],
    ["undeclared, with a default", [], "{a} {a:x} {a}", false, "x"],
    ["undeclared, with the same default twice", [], "{a:x} {a:x}", false, "x"],
    ["declared, with nothing else", [{ name: "a" }], "{a}", true, undefined],
    ["declared, with the text's default", [{ name: "a" }], "{a:x}", false, "x"],
    ["declared not required", [{ name: "a", required: false }], "{a}", false, undefined],
    ["declared required with a default to offer", [{ name: "a", required: true, default: "x" }], "{a}", true, "x"],
    ["declared with an empty default for a number", [{ name: "a", type: "number", default: "" }], "{a}", false, ""],
  ])("%s", (_what, declared, text, isRequired, fallback) => {
    const [variable] = template(declared, text).variables;
    expect(variable).toMatchObject({ isRequired, ...(fallback !== undefined && { default: fallback }) });
  });

  it.each<[string, DeclaredVariable[], string, string, unknown]>([
    [
      "different defaults, naming both positions",
      [],
      "{a:x}\n{a:y}",
      'variable a has two defaults, "x" (template line 1) and "y" (template line 2): keep one',
      { part: "template", line: 2 },
    ],
    [
      "a default other than the declared one",
      [{ name: "a", default: "" }],
      "{a:y}",
      'variable a has two defaults, "" (declared) and "y" (template line 1): keep one',
      { index: 0 },
    ],
    [
      "a variable declared twice",
      [{ name: "a" }, { name: "a" }],
      "{a}",
      "variable a is declared twice: keep one",
      { index: 1 },
    ],
    [
      "a misspelt variable",
      [{ name: "langauge" }],
      "{language}",
      "variable langauge is not used in the text; did you mean language?",
      { index: 0 },
    ],
    [
      "a default that is not among the values",
      [{ name: "a", enum: ["warm", "curt"], default: "wram" }],
      "{a}",
      'the default of variable a must be one of warm, curt, got "wram"; did you mean "warm"?',
      { index: 0 },
    ],
    [
      "a name of an object's property",
      [],
      "{__proto__}",
      "a variable can't have the name __proto__",
      { part: "template", line: 1 },
    ],
  ])("reject %s", (_what, declared, text, problem, at) => {
    expect(found(declared, text)).toEqual({ problem, at });
  });
});

describe("the values of a template", () => {
  const full = template(
    [
      { name: "count", type: "number", default: "3" },
      { name: "isLong", type: "boolean", required: false },
      { name: "tone", enum: ["warm", "curt"], default: "warm" },
    ],
    "{text} {count} {isLong} {tone}",
  );

  it("are those given, else the defaults, else empty", () => {
    const given = valuesOf(full, { text: "{tone}", count: 4 });
    expect(given).toEqual({
      values: new Map(Object.entries({ text: "{tone}", count: "4", tone: "warm", isLong: "" })),
    });
  });

  it("are reported as missing where required, all at once", () => {
    expect(valuesOf(full, { count: "1e3", isLong: "true" })).toEqual({ missing: [full.variables[3]] });
  });

  it("may be empty, which doesn't count as missing", () => {
    expect(valuesOf(full, { text: "" })).toHaveProperty("values");
  });

  it("may belong to variables named like properties of objects", () => {
    const odd = template([], "{constructor} {toString:x}");
    expect(valuesOf(odd, {})).toEqual({ missing: [odd.variables[0]] });
    expect(valuesOf(odd, { constructor: "a" })).toEqual({
      values: new Map(Object.entries({ constructor: "a", toString: "x" })),
    });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["an unknown variable", { txet: "a" }, 'template t has no variable "txet", did you mean "text"?'],
    [
      "an unknown variable without a similar name",
      { zzzzzz: "a" },
      'template t has no variable "zzzzzz", it has count, isLong, tone, text',
    ],
    ["an invalid number", { text: "", count: "many" }, 'variable count must be a number, got "many"'],
    ["an empty number", { text: "", count: " " }, 'variable count must be a number, got " "'],
    ["an invalid boolean", { text: "", isLong: "yes" }, 'variable isLong must be true or false, got "yes"'],
    [
      "a value that is not allowed",
      { text: "", tone: "crut" },
      'variable tone must be one of warm, curt, got "crut"; did you mean "curt"?',
    ],
    ["several problems at once", { tone: "x", zzzzzz: 1 }, "; variable tone must be one of warm, curt"],
  ])("reject %s", (_what, given, message) => {
    expect(() => valuesOf(full, given)).toThrow(message);
  });
});
