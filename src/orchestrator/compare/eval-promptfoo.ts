import type { EvalCase } from "../api/facade-compare.ts";
import { InvalidRequest } from "../api/errors.ts";
import { isRecord } from "../util/parse-json.ts";

type Data = Readonly<Record<string, unknown>>;

interface Place {
  readonly path: string;
  /** `file:line` of what stands at these keys. */
  lineOf(...keys: readonly (string | number)[]): string;
}

/** Says nothing about which answers are right: models are named by the caller, results stay here. */
const ignored: ReadonlySet<string> = new Set([
  "description",
  "providers",
  "outputPath",
  "sharing",
  "commandLineOptions",
  "$schema",
]);
const silent: ReadonlySet<string> = new Set(["description", "$schema"]);
const types: Readonly<Record<string, EvalCase["expects"][number]["type"]>> = {
  equals: "equals",
  contains: "contains",
  icontains: "icontains",
  regex: "regex",
  "is-json": "json",
  "llm-rubric": "judge",
};
/** Combinations of lists of variables, of one test. */
const maxCombinations = 1_000;

/**
 * The cases of promptfoo's configuration: each prompt with each test. A test that needs what is not there (a function, a
 * file, another assertion) would be another test without it: it is left out, and named with its line.
 */
export function promptfooCases(
  config: object,
  place: Place,
): { readonly cases: readonly EvalCase[]; readonly notes: readonly string[] } {
  const cases: EvalCase[] = [];
  const notes: string[] = [];
  const { prompts, tests, defaultTest, ...rest } = config as Data;
  for (const key of Object.keys(rest)) {
    if (!ignored.has(key)) throw unusable(place.lineOf(key), `${key} is not understood`);
    if (!silent.has(key)) notes.push(`${place.lineOf(key)}: ${key} is not used`);
  }
  const templates = list(prompts).map((prompt, at) => {
    const where = place.lineOf("prompts", at);
    const text = isRecord(prompt) ? prompt["raw"] : prompt;
    if (typeof text !== "string") throw unusable(where, "this prompt has no text");
    if (/^file:\/\/|^(?:\w|\.)[\w./-]*\.(?:txt|json|ya?ml|js|py|md)$/.test(text)) {
      throw unusable(where, "a prompt in another file is not read: put its text here");
    }
    if (/^\s*\[\s*\{.*"role"\s*:/s.test(text))
      throw unusable(where, "a list of messages is no prompt: put a text here");
    return text;
  });
  if (templates.length === 0) throw unusable(place.path, "there are no prompts");
  if (!Array.isArray(tests)) throw unusable(place.lineOf("tests"), "tests in another file are not read: put them here");
  const shared = isRecord(defaultTest) ? defaultTest : {};
  for (const [at, test] of tests.entries()) {
    const where = place.lineOf("tests", at);
    try {
      const { vars, expects, name } = testOf(test, shared, place, at);
      for (const [index, template] of templates.entries()) {
        for (const values of combinations(vars, where)) {
          const filled = expects.map((each) =>
            typeof each.value === "string" ? { ...each, value: fill(each.value, values, where) } : each,
          );
          const part = templates.length > 1 ? `, prompt ${index + 1}` : "";
          cases.push({ name: `${name ?? where}${part}`, prompt: fill(template, values, where), expects: filled });
        }
      }
    } catch (error) {
      if (!(error instanceof InvalidRequest)) throw error;
      notes.push(`left out: ${error.message}`);
    }
  }
  return { cases, notes };
}

function testOf(test: unknown, shared: Data, place: Place, at: number) {
  if (!isRecord(test)) throw unusable(place.lineOf("tests", at), "this test is no object");
  for (const [from, keys] of [
    [shared, ["defaultTest"]],
    [test, ["tests", at]],
  ] as const) {
    const other = Object.keys(from).find((key) => !["vars", "assert", "description", "metadata"].includes(key));
    if (other !== undefined) throw unusable(place.lineOf(...keys, other), `${other} of a test is not understood`);
  }
  const expects = [
    ...list(shared["assert"]).map((each, index) => expectationOf(each, place.lineOf("defaultTest", "assert", index))),
    ...list(test["assert"]).map((each, index) => expectationOf(each, place.lineOf("tests", at, "assert", index))),
  ];
  const vars = { ...(isRecord(shared["vars"]) && shared["vars"]), ...(isRecord(test["vars"]) && test["vars"]) };
  const { description } = test;
  return { vars, expects, name: typeof description === "string" ? description : undefined };
}

function expectationOf(given: unknown, where: string): EvalCase["expects"][number] {
  if (!isRecord(given)) throw unusable(where, "this assertion is no object");
  const { type: named, value, ...rest } = given;
  const [other] = Object.keys(rest).filter((key) => key !== "metric" && key !== "description");
  if (other !== undefined) throw unusable(where, `${other} of an assertion is not understood`);
  const [, not, name = ""] = /^(not-)?(.*)$/.exec(String(named)) ?? [];
  const type = Object.hasOwn(types, name) ? types[name] : undefined;
  if (type === undefined) throw unusable(where, `the assertion ${String(named)} is not understood`);
  if (typeof value === "string" && /^(?:file|package|python|javascript):/.test(value)) {
    throw unusable(where, "a value in another file is not read");
  }
  const isText = typeof value === "number" || typeof value === "boolean" || (typeof value === "string" && value !== "");
  const isFit =
    type === "json" ? value === undefined || isRecord(value) : type === "equals" ? value !== undefined : isText;
  if (!isFit) throw unusable(where, `the assertion ${name} has no value that is understood`);
  return {
    type,
    ...(value !== undefined && { value: isText && type !== "equals" ? String(value) : value }),
    ...(not !== undefined && { isNot: true as const }),
  };
}

/** Each value of a variable that is a list with each of the others. */
function combinations(vars: Data, where: string): readonly Data[] {
  let all: readonly Data[] = [{}];
  for (const [name, value] of Object.entries(vars)) {
    all = list(value).flatMap((one) => all.map((known) => ({ ...known, [name]: one })));
    if (all.length === 0) throw unusable(where, `${name} is an empty list`);
    if (all.length > maxCombinations)
      throw unusable(where, `the variables have more than ${maxCombinations} combinations`);
  }
  return all;
}

/** The template with its variables; anything else between braces is code of a template engine. */
function fill(template: string, values: Data, where: string): string {
  const other = /\{%|\{#/.exec(template);
  if (other !== null) throw unusable(where, `${other[0]} in a template is not understood`);
  return template.replaceAll(/\{\{(.*?)\}\}/gs, (_all, inner: string) => {
    const name = inner.trim();
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw unusable(where, `{{${inner}}} is no variable of this test`);
    if (typeof value === "string" && value.startsWith("file://"))
      throw unusable(where, `${name} is in another file, which is not read`);
    return typeof value === "string" ? value : JSON.stringify(value);
  });
}

function list(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : [value];
}

function unusable(where: string, problem: string): InvalidRequest {
  return new InvalidRequest(`${where}: ${problem}`);
}
