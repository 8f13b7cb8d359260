import * as z from "zod";
import { InvalidRequest } from "../api/errors.ts";
import type { Comparison, EvalCase } from "../api/facade-compare.ts";
import { advice } from "../api/next-step.ts";
import { taskNames } from "../api/types.ts";
import { taskOf } from "../api/facade-route.ts";
import { defined, isRecord, messageOf, parseJson } from "../util/values.ts";
import { parseYaml } from "../util/parse-yaml.ts";
import { counted } from "../util/format-bytes.ts";

type Source = { readonly path: string; readonly text: string };

/** What a file of cases may have: a set of thousands is written by a program, as JSON lines. */
const maxYaml = { bytes: 1024 ** 2, tokens: 60_000 } as const;
const maxCases = 10_000;

/** An empty one stands in every answer. */
const someText = z.string().min(1);

const ownCase = z.strictObject({
  name: z.string().min(1).optional(),
  prompt: z.string(),
  system: z.string().optional(),
  task: z.enum(taskNames as [string, ...string[]]).optional(),
  files: z.union([someText, z.array(someText)]).optional(),
  expected: z
    .unknown()
    .refine((value) => value !== null, "is null: leave it out, or say what is expected")
    .optional(),
  contains: z.union([someText, z.array(someText).min(1)]).optional(),
  format: z.union([z.literal("json"), z.record(z.string(), z.unknown())]).optional(),
  check: z.union([z.literal("quotes"), z.strictObject({ command: z.string() })]).optional(),
  judge: z.string().min(1).optional(),
});

/** The cases of files, by the kind of each; see `Comparisons.readCases`. A file that a case names is no case itself. */
export async function readCases(files: readonly Source[]): Promise<ReturnType<typeof promptfooCases>> {
  const expected = new Map(files.flatMap((file) => (isExpected(file) ? [[stemOf(file), file.text] as const] : [])));
  const read: { readonly path: string; readonly found: Awaited<ReturnType<typeof casesIn>> | InvalidRequest }[] = [];
  for (const file of files) {
    if (isExpected(file)) continue;
    const found = await casesIn(file, expected).catch((error: unknown) => {
      if (error instanceof InvalidRequest) return error;
      throw error;
    });
    read.push({ path: file.path, found });
  }
  const named = read.flatMap(({ found }) =>
    found === undefined || found instanceof InvalidRequest ? [] : found.cases.flatMap((each) => each.files ?? []),
  );
  const own = read.filter(({ path }) => !named.some((each) => isNamed(path, each.path)));
  const cases: EvalCase[] = [];
  const notes: string[] = [];
  for (const { path, found } of own) {
    if (found instanceof InvalidRequest) throw found;
    cases.push(...(found?.cases ?? []));
    notes.push(...(found?.notes ?? [`${path} is no case, and no case names it`]));
  }
  const prompts = new Set(files.filter((file) => !isExpected(file) && isPrompt(file)).map(stemOf));
  const lonely = [...expected.keys()].filter((stem) => !prompts.has(stem));
  notes.push(...lonely.map((stem) => `${stem}.expected belongs to no prompt: ${stem}.md or ${stem}.txt is missing`));
  if (cases.length > maxCases)
    throw new InvalidRequest(`there are ${cases.length} cases; at most ${maxCases} are asked`);
  if (cases.length > 0) return { cases, notes };
  throw new InvalidRequest(
    [`there is no case in ${files.map(({ path }) => path).join(", ") || "these files"}`, ...notes].join("; "),
    { next: advice('write one case a line, such as {"prompt": "What is 17 × 3?", "expected": 51}') },
  );
}

/** Undefined for a file of another kind. */
async function casesIn(
  file: Source,
  expected: ReadonlyMap<string, string>,
): Promise<ReturnType<typeof promptfooCases> | undefined> {
  const { path, text } = file;
  if (/\.(?:jsonl|ndjson)$/i.test(path)) return { cases: linesOf(file), notes: [] };
  if (/\.(?:ya?ml|json)$/i.test(path)) return documentOf(file);
  if (!isPrompt(file)) return undefined;
  if (text.trim() === "") throw invalid(path, "is empty");
  const value = expected.get(stemOf(file))?.trim();
  const expects = value === undefined ? [] : [{ type: "equals", value } as const];
  return { cases: [{ name: path, prompt: text.trim(), expects }], notes: [] };
}

const isPrompt = ({ path }: Source): boolean => /\.(?:md|txt)$/i.test(path);

/** Whether a case means this file, which it names relative to its own. */
function isNamed(path: string, name: string): boolean {
  const plain = name.replace(/^\.[\\/]/, "");
  return path === plain || path.endsWith(`/${plain}`);
}

/** The prompt of each comparison with a pick, and the answer that was picked as the standard. */
export function pickedCases(comparisons: readonly Comparison[]): ReturnType<typeof promptfooCases> {
  const picked = comparisons.filter(({ winner }) => winner !== undefined);
  const whole = picked.filter(({ files }) => files === undefined);
  const cases = whole.map(({ id, prompt, task, results, winner }): EvalCase => {
    const text = results.find(({ model }) => model === winner)?.text ?? "";
    const value = `It is at least as good as this answer, which the user picked as the best:\n\n${text}`;
    return { name: id, prompt, task, expects: [{ type: "judge", value }] };
  });
  const winners = [...new Set(whole.map(({ winner }) => winner))].join(", ");
  const left = picked.length - whole.length;
  if (cases.length === 0) {
    throw new InvalidRequest("no answer of a comparison without files was picked, and ratings keep no prompts", {
      next: [{ step: "compareModels" }],
    });
  }
  const notes = [
    `the cases are the ${counted(cases.length, "comparison")} with a pick, since ratings keep no prompts; the answers of ${winners} are the standard, which favours it`,
    ...(left === 0 ? [] : [`${counted(left, "comparison")} left out: their files are not kept`]),
  ];
  return { cases, notes };
}

const isExpected = ({ path }: Source): boolean => /\.expected\.\w+$/i.test(path);
const stemOf = ({ path }: Source): string => path.replace(/(?:\.expected)?\.\w+$/i, "");

function linesOf({ path, text }: Source): readonly EvalCase[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    if (line.trim() === "") return [];
    const where = `${path}:${index + 1}`;
    try {
      return [caseOf(parseJson(line), where, path)];
    } catch (error) {
      throw error instanceof SyntaxError ? invalid(where, `is not JSON: ${messageOf(error)}`) : error;
    }
  });
}

async function documentOf({ path, text }: Source): Promise<ReturnType<typeof promptfooCases>> {
  const parsed = await parseYaml(text, maxYaml.bytes, maxYaml.tokens);
  if ("problem" in parsed) {
    const tooLarge = parsed.line === undefined ? "; larger sets are written as JSON lines" : "";
    throw invalid(parsed.line === undefined ? path : `${path}:${parsed.line}`, `${parsed.problem}${tooLarge}`);
  }
  const { value, document, lines } = parsed;
  const lineOf = (...keys: readonly (string | number)[]): string => {
    const node = document.getIn(keys, true) as { readonly range?: readonly [number, ...unknown[]] | null } | undefined;
    return node?.range ? `${path}:${lines.linePos(node.range[0]).line}` : path;
  };
  if (typeof value === "object" && value !== null && ("tests" in value || "prompts" in value)) {
    return promptfooCases(value, { path, lineOf });
  }
  if (!Array.isArray(value)) return { cases: [caseOf(value, path, path)], notes: [] };
  return { cases: value.map((each, index) => caseOf(each, lineOf(index), path)), notes: [] };
}

function caseOf(value: unknown, where: string, source: string): EvalCase {
  const parsed = ownCase.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const at = issue?.path.join(".") ?? "";
    throw invalid(where, `is no case: ${at === "" ? "" : `${at}: `}${issue?.message ?? "it is not an object"}`);
  }
  const { name, prompt, system, task, files, expected, contains, format, check, judge } = parsed.data;
  if (prompt.trim() === "") throw invalid(where, "has an empty prompt");
  if (check === "quotes" && files === undefined) throw invalid(where, "has check: quotes, and no files to look in");
  return {
    name: name ?? where,
    source,
    prompt,
    ...defined({
      system,
      task: task === undefined ? undefined : taskOf(task),
      files: files === undefined ? undefined : [files].flat().map((path) => ({ path })),
      format,
      check,
    }),
    expects: [
      ...(expected === undefined ? [] : [{ type: "equals", value: expected } as const]),
      ...[contains ?? []].flat().map((each) => ({ type: "contains", value: each }) as const),
      ...(judge === undefined ? [] : [{ type: "judge", value: judge } as const]),
    ],
  };
}

function invalid(where: string, problem: string): InvalidRequest {
  return new InvalidRequest(`${where} ${problem}`, { next: advice("correct the file and try again") });
}

type Data = Readonly<Record<string, unknown>>;

interface Place {
  readonly path: string;
  /** `file:line` of what stands at these keys. */
  lineOf(...keys: readonly (string | number)[]): string;
}

/** Says nothing about which answers are right: models are named by the caller, results stay here. */
const ignored: ReadonlySet<string> = new Set(
  "description providers outputPath sharing commandLineOptions $schema".split(" "),
);
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
function promptfooCases(
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
