import * as z from "zod";
import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import type { BatchAnswer, BatchStep, PlannedStep } from "../orchestrator/api/facade-batches.ts";
import type { GenerateRequest } from "../orchestrator/api/facade.ts";
import { advice } from "../orchestrator/api/next-step.ts";
import { defined, jsonIn, messageOf } from "../orchestrator/util/values.ts";
import { counted } from "../orchestrator/util/format-bytes.ts";
import { didYouMean, meantBy } from "../orchestrator/util/nearest.ts";
import { yamlOf } from "../orchestrator/util/parse-yaml.ts";
import { marksIn, withInputs } from "../orchestrator/util/placeholders.ts";
import { type ToolContext, defineTool, writesByModel } from "./definition.ts";
import { openAnswers, pipelineAnswer } from "./for-each.ts";
import { type Pipeline, type PipelineStep, parsePipeline, pipelineIn, stepFrom, unitOf } from "./steps.ts";
import { asLine, noteLines } from "./render.ts";

const counts = z.record(z.string(), z.number());

const output = z.object({
  pipelines: z
    .array(
      z.object({
        name: z.string(),
        description: z.string().optional(),
        inputs: z.array(z.string()).optional(),
        source: z.enum(["built-in", "user", "project"]),
        file: z.string().optional(),
      }),
    )
    .optional(),
  problems: z.array(z.string()).optional(),
  yaml: z.string().optional(),
  plan: z
    .array(
      z.object({
        step: z.string(),
        model: z.string(),
        engine: z.string(),
        load: z.boolean(),
        prompts: z.number().optional(),
        prompt_tokens: z.number().optional(),
        seconds: z.number().optional(),
      }),
    )
    .optional(),
  text: z.string().optional(),
  model: z.string().optional(),
  steps: z.array(z.object({ step: z.string(), counts, skipped: z.string().optional() })).optional(),
  failures: z.array(z.string()).optional(),
  asks: z.string().optional(),
  written: z.array(z.string()).optional(),
  results: z.string().optional(),
  notes: z.array(z.string()).optional(),
});

export const runPipeline = defineTool({
  name: "run_pipeline",
  title: "Run steps that build on each other",
  description:
    "Run a pipeline of prompts with local models as a job: a name (without one, all are listed), a YAML file, or YAML with steps. " +
    "Each step takes what route_and_generate takes, files, and what earlier steps gave.",
  ...writesByModel,
  set: "extra",
  input: z.strictObject({
    pipeline: z.string().min(1).optional().describe("Name, YAML file, or YAML."),
    inputs: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
    skip: z.array(z.string()).optional().describe("Steps to leave out."),
    dry_run: z.boolean().optional().describe("Show YAML, models, loads, tokens, seconds."),
    goal: z.string().min(1).optional().describe("Write a pipeline for it; not run."),
  }),
  output,
  async run({ pipeline: given, goal, inputs = {}, skip, dry_run }, context) {
    if (goal !== undefined) return { data: await written(goal, context) };
    if (given === undefined) return { data: await list(context) };
    const found: Found = given.includes("\n") ? { yaml: given } : await named(given, context);
    const read = await parsePipeline(found.yaml);
    if ("problem" in read) {
      const where = `${found.file ?? "the pipeline"}${read.line === undefined ? "" : `:${read.line}`}`;
      throw new InvalidRequest(`${where}: ${read.problem}`, { next: { step: "correctArguments" } });
    }
    const { pipeline } = read;
    const name = found.name ?? pipeline.name ?? "given";
    const filled = valuesOf(name, pipeline, inputs);
    if ("needsInput" in filled) {
      if (dry_run !== true) return filled;
      return { data: { yaml: found.yaml, notes: [filled.needsInput.message] } };
    }
    const unknown = skip?.find((each) => pipeline.steps.every((step) => step.name !== each));
    if (unknown !== undefined) {
      const names = pipeline.steps.map((step) => step.name);
      throw new InvalidRequest(`no step is named ${unknown}`, { next: { step: "chooseOneOf", names } });
    }
    const outputs = new Map<string, Awaited<ReturnType<typeof openOutput>>>();
    const steps: BatchStep<GenerateRequest>[] = [];
    for (const step of pipeline.steps) {
      const prepared = await stepOf(step, filled.values, context);
      if ("needsInput" in prepared) return prepared;
      const { output: target } = prepared;
      const other = steps.find((each) => each.output === target && target !== undefined);
      if (other !== undefined)
        throw new InvalidRequest(`steps ${other.name} and ${step.name} write to the same ${target}`);
      steps.push(prepared);
      if (target !== undefined && dry_run !== true) outputs.set(step.name, await openOutput(prepared, target, context));
    }
    const { orchestrator, caller, follow } = context;
    const request = { pipeline: name, steps, ...defined({ skip }) };
    if (dry_run === true) {
      const plan = await orchestrator.batches.plan(caller, request);
      return { data: { yaml: found.yaml, plan: plan.map(planData), notes: plan.flatMap(({ notes }) => notes) } };
    }
    const summary = await follow(await orchestrator.batches.start(caller, request), true);
    const data = pipelineAnswer(summary, false);
    if (summary.stopped !== undefined || outputs.size === 0) return { data };
    const results = await orchestrator.batches.results(caller, summary.id);
    const files: string[] = [];
    const notes = [...(data.notes ?? [])];
    for (const { step, skipped } of summary.steps) {
      if (skipped !== undefined) continue;
      try {
        const done = await outputs.get(step)?.(results.filter((each) => (each.step ?? step) === step));
        if (done !== undefined) files.push(done.path);
        if (done !== undefined && done.skipped > 0)
          notes.push(`${counted(done.skipped, "file")} in ${done.path} left as they were, because they existed`);
      } catch (error) {
        // The answers are kept: one file that can't be written takes none of them.
        notes.push(`what ${step} gave was not written: ${messageOf(error)}`);
      }
    }
    return { data: { ...data, written: files, ...(notes.length > 0 && { notes }) } };
  },
  render: rendered,
});

type Output = z.output<typeof output>;

/** Where a step's answers go: that of a single prompt as it is, those about many texts as `openAnswers` says. */
async function openOutput({ isMany }: BatchStep<GenerateRequest>, target: string, context: ToolContext) {
  if (isMany === true) return openAnswers(target, context);
  const file = await context.files.openOutput(target);
  return async ([answer]: readonly BatchAnswer[]) => ({
    path: file.path,
    skipped: 0,
    ...(await file.write(`${answer?.text?.trim() ?? ""}\n`)),
  });
}

const planData = ({ step, model, engine, isLoad, prompts, promptTokens, seconds }: PlannedStep) =>
  defined({ step, model, engine, load: isLoad, prompts, prompt_tokens: promptTokens, seconds });

/** A step as it is kept: with its files read, its template filled, and marks of earlier steps. Throws with its name. */
async function stepOf(
  step: PipelineStep,
  inputs: Readonly<Record<string, string>>,
  context: ToolContext,
): Promise<BatchStep<GenerateRequest> | { readonly needsInput: NeedsInput }> {
  try {
    const { name, input, files, for_each: given, when, on_fail: onFail, ...request } = withInputs(step, inputs);
    const unit = typeof given === "string" ? unitOf(given) : undefined;
    const { of: named_, ...how } =
      typeof given === "object"
        ? given
        : { of: unit === undefined && given !== undefined ? [given] : undefined, each: unit };
    const over = named_?.find((text) => marksIn(text).length > 0);
    const isOfFiles = given !== undefined && named_ === undefined;
    const of = isOfFiles ? files : over === undefined ? named_ : undefined;
    const asked = {
      ...request,
      ...(!isOfFiles && defined({ files })),
      ...(given !== undefined && { for_each: defined({ ...how, of }) }),
    };
    const prepared = await stepFrom(name, asked, context);
    return "needsInput" in prepared ? prepared : { ...prepared, ...defined({ over, input, when, onFail }) };
  } catch (error) {
    if (!(error instanceof InvalidRequest)) throw error;
    throw new InvalidRequest(`step ${step.name}: ${error.message}`, { next: error.next, cause: error });
  }
}

/** The values of its inputs; missing ones are asked for. Throws `InvalidRequest`. */
function valuesOf(
  name: string,
  { inputs = {} }: Pipeline,
  given: Readonly<Record<string, string | number | boolean>>,
): { readonly values: Readonly<Record<string, string>> } | { readonly needsInput: NeedsInput } {
  for (const [key, value] of Object.entries(given)) {
    const input = Object.hasOwn(inputs, key) ? inputs[key] : undefined;
    const known = Object.keys(inputs);
    if (input === undefined) {
      const remedy = meantBy(key, known, `; it has ${known.join(", ") || "none"}`);
      throw new InvalidRequest(`${name} has no input ${key}${remedy}`, { next: { step: "correctArguments" } });
    }
    if (input.enum?.includes(String(value)) === false) {
      throw new InvalidRequest(`input ${key} is ${JSON.stringify(value)}`, {
        next: { step: "chooseOneOf", names: input.enum },
      });
    }
  }
  const all = Object.entries(inputs).map(([key, input]) => [key, input, given[key] ?? input.default] as const);
  const missing = all.filter(([, , value]) => value === undefined);
  if (missing.length === 0) return { values: Object.fromEntries(all.map(([key, , value]) => [key, String(value)])) };
  const fields = missing.map(([key, { description = key, enum: allowed }]) => [
    key,
    { type: "string", description, isRequired: true, into: "inputs", ...defined({ enum: allowed }) } as const,
  ]);
  const message = `Pipeline ${name} needs ${missing.map(([key]) => key).join(", ")}.`;
  return { needsInput: { message, fields: Object.fromEntries(fields) as NeedsInput["fields"] } };
}

async function named(name: string, context: ToolContext): Promise<Found> {
  const { orchestrator, caller, files } = context;
  // A project's own are used once the user approved them, by their names.
  const [, own] = /(?:^|[\\/])\.ollm[\\/]pipelines[\\/]([^\\/]+)\.ya?ml$/i.exec(name) ?? [];
  if (own !== undefined) return named(own, context);
  if (/\.ya?ml$/i.test(name)) {
    const [found = { path: name, text: "" }] = await files.readText([name]);
    return { name: found.path.replace(/^.*[\\/]|\.ya?ml$/gi, ""), yaml: found.text, file: found.path };
  }
  const { templates, problems } = await orchestrator.templates.pipelines(caller);
  const known = templates.find((each) => each.name === name);
  if (known !== undefined) return { name, yaml: known.template, ...defined({ file: known.file }) };
  const names = templates.map((each) => each.name);
  const why = problems.length === 0 ? "" : `: ${problems.slice(0, 3).join("; ")}`;
  const isWaiting = caller.project?.pipelinesFolder !== undefined && !caller.project.isTrusted;
  throw new InvalidRequest(`there is no pipeline ${JSON.stringify(name)}${why}`, {
    next: [
      ...(isWaiting ? [{ step: "approveProject" } as const] : []),
      ...didYouMean(name, names, 3, { step: "chooseOneOf", names }),
    ],
  });
}

type Found = Readonly<{ name?: string; yaml: string; file?: string }>;

async function list({ orchestrator, caller }: ToolContext): Promise<Output> {
  const { templates, problems } = await orchestrator.templates.pipelines(caller);
  const broken = [...problems];
  const shown: NonNullable<Output["pipelines"]> = [];
  for (const { name, template, source, file } of templates) {
    const read = await parsePipeline(template);
    if ("problem" in read) {
      broken.push(`${file ?? name}${read.line === undefined ? "" : `:${read.line}`}: ${read.problem}`);
      continue;
    }
    const { description, inputs } = read.pipeline;
    shown.push({ name, source, ...defined({ description, inputs: inputs && Object.keys(inputs), file }) });
  }
  return { pipelines: shown, ...(broken.length > 0 && { problems: broken }) };
}

/** What a model writes for a goal: steps that take from each other by name. */
const draft = z.object({
  description: z.string(),
  steps: z
    .array(
      z.object({
        name: z.string().describe("One word."),
        prompt: z.string().describe("What a model is told to do in this step."),
        files: z.array(z.string()).describe("Files or patterns that it reads; empty for none."),
        one_by_one: z.boolean().describe("Each file is asked about on its own."),
        takes: z.array(z.string()).describe("Names of earlier steps whose results it reads."),
      }),
    )
    .min(1)
    .max(6),
});

/** A pipeline for a goal, written by a model with the profile `orchestrator`, as YAML. It is not run. */
async function written(goal: string, { orchestrator, caller, follow }: ToolContext): Promise<Output> {
  const { $schema: _dialect, ...format } = z.toJSONSchema(draft);
  let problem = "";
  for (let tries = 0; tries < 3; tries += 1) {
    const more = problem === "" ? "" : `\nThe last plan could not be used: ${problem}.`;
    const prompt = `Write a plan of at most six steps for local language models. The last step gives the result.\nGoal: ${goal}${more}`;
    const request = { prompt, profile: "orchestrator", format, grounded: false, useMemory: false };
    const { text, model } = await follow(await orchestrator.generate(caller, request));
    const read = draft.safeParse(jsonIn(text));
    if (!read.success) {
      problem = "it is no plan";
      continue;
    }
    const { description, steps } = read.data;
    const file = {
      description,
      steps: steps.map(({ name, prompt: asked, files, one_by_one: isEach, takes }) => ({
        name: nameIn(name),
        ...(files.length > 0 && { files }),
        ...(files.length > 0 && isEach && { for_each: "file" }),
        ...(takes.length > 0 && { input: takes.map((each) => `{{ steps.${nameIn(each)} }}`) }),
        prompt: asked,
      })),
    };
    const found = pipelineIn(file);
    if ("pipeline" in found) return { yaml: await yamlOf(file), model, notes: ["it was not run: read it first"] };
    ({ problem } = found);
  }
  throw new InvalidRequest(`no model wrote a pipeline that can be used: ${problem}`, {
    next: advice("write it yourself, or say the goal in simpler words"),
  });
}

const nameIn = (text: string): string =>
  text
    .trim()
    .replaceAll(/[^A-Za-z0-9_-]+/g, "_")
    .replace(/^(?=\d|-)/, "_") || "step";

function rendered({
  pipelines,
  problems = [],
  yaml,
  plan,
  text,
  steps = [],
  ...rest
}: Output): string | readonly string[] {
  const { failures = [], asks, written: files = [], results, notes } = rest;
  const lines = [
    ...(pipelines ?? []).map(({ name, inputs = [], description = "" }) =>
      asLine(`${[name, ...inputs.map((input) => `<${input}>`)].join(" ")}: ${description}`),
    ),
    ...problems.map(asLine),
    ...planLines(plan ?? []),
    ...steps.map((step) => asLine(stepLine(step))),
    ...failures.map((failure) => asLine(`failed: ${failure}`)),
    ...noteLines(notes),
    ...(asks === undefined ? [] : [asLine(`to go on without ${asks}, call again with skip: ["${asks}"]`)]),
    ...files.map((file) => asLine(`written to ${file}`)),
    ...(results === undefined ? [] : [`all answers: ${results}`]),
  ].join("\n");
  const first = text ?? yaml;
  return first === undefined ? lines : lines === "" ? first : [first, lines];
}

function planLines(plan: NonNullable<Output["plan"]>): readonly string[] {
  if (plan.length === 0) return [];
  const loads = plan.filter(({ load }) => load).length;
  const seconds = plan.reduce((sum, each) => sum + (each.seconds ?? 0), 0);
  return [
    ...plan.map(({ step, model, load, prompts, prompt_tokens: tokens, seconds: some }) => {
      const asked = prompts === undefined ? "a prompt for each of an earlier step's list" : counted(prompts, "prompt");
      const size = tokens === undefined ? "" : `, about ${counted(tokens, "token")} to read`;
      return asLine(
        `${step}: ${model}${load ? " (to be loaded)" : ""}, ${asked}${size}${some === undefined ? "" : `, about ${some} s`}`,
      );
    }),
    `${counted(loads, "load")}, about ${seconds} s${plan.some(({ prompts }) => prompts === undefined) ? " and what the lists take" : ""}`,
  ];
}

function stepLine({
  step,
  counts: { asked = 0, done = 0, failed, doubtful, empty },
  skipped,
}: NonNullable<Output["steps"]>[number]) {
  if (skipped !== undefined) return `${step}: skipped`;
  const rest = Object.entries({ doubtful, empty, failed }).flatMap(([what, count]) =>
    count === undefined ? [] : `${count} ${what}`,
  );
  return `${step}: ${[`${done} of ${counted(asked, "answer")}`, ...rest].join(", ")}`;
}
