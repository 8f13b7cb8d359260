import * as z from "zod";
import { InvalidRequest, type NeedsInput } from "../orchestrator/api/errors.ts";
import {
  type BatchItem,
  type BatchStep,
  type BatchUnit,
  batchUnits,
  batchStep,
} from "../orchestrator/api/facade-batches.ts";
import type { GenerateRequest } from "../orchestrator/api/facade.ts";
import { defined } from "../orchestrator/util/values.ts";
import { meantBy } from "../orchestrator/util/nearest.ts";
import { lineAt, maxForeignTokens, parseYaml } from "../orchestrator/util/parse-yaml.ts";
import { type Placeholder, placeholdersIn, stepMark, withoutMarks } from "../orchestrator/util/placeholders.ts";
import type { ToolContext } from "./definition.ts";
import { forEachInput } from "./for-each.ts";
import { type GenerationInput, filledFrom, generationInput, generationRequest } from "./generation-request.ts";
import type { FilledTemplate } from "./templates.ts";

/** Every order of so many steps can be looked at. */
const maxSteps = 12;
const maxBytes = 256 * 1024;

const plainName = z.string().regex(/^[A-Za-z_][\w-]{0,63}$/, "must be letters, digits, - and _, no digit first");
const listed = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).transform((given) => [given].flat());

const step = z.strictObject({
  name: plainName,
  // What a prompt may say, a step may say.
  ...generationInput.omit({ files: true, for_each: true, continue_id: true, dry_run: true, explain: true }).shape,
  files: listed.optional(),
  input: listed.optional(),
  for_each: z
    .union([z.string(), forEachInput.omit({ reduce: true, when: true }).extend({ of: listed.optional() })])
    .optional(),
  when: z.string().optional(),
  on_fail: batchStep.shape.onFail.unwrap().optional(),
});

const pipelineInput = z.strictObject({
  description: z.string().optional(),
  default: z.union([z.string(), z.number(), z.boolean()]).transform(String).optional(),
  enum: z.array(z.string()).min(1).optional(),
});

export const pipelineFile = z.strictObject({
  name: z.string().optional(),
  description: z.string().optional(),
  inputs: z.record(plainName, pipelineInput).optional(),
  steps: z.array(step).min(1, "must have a step").max(maxSteps),
});

export type Pipeline = z.output<typeof pipelineFile>;
export type PipelineStep = Pipeline["steps"][number];

/** The pipeline of a YAML text, or its first problem, with line and step. */
export async function parsePipeline(
  text: string,
): Promise<{ readonly pipeline: Pipeline } | Extract<Awaited<ReturnType<typeof parseYaml>>, { problem: string }>> {
  const yaml = await parseYaml(text, maxBytes, maxForeignTokens);
  if ("problem" in yaml) return yaml;
  const found = pipelineIn(yaml.value);
  if ("pipeline" in found) return found;
  return { problem: found.problem, ...defined({ line: await lineAt(yaml, found.path) }) };
}

/** The pipeline in a value, or its first problem, with the path to it. Pure. */
export function pipelineIn(
  value: unknown,
): { readonly pipeline: Pipeline } | { readonly problem: string; readonly path: readonly PropertyKey[] } {
  const read = pipelineFile.safeParse(value);
  const [issue] = read.error?.issues ?? [];
  if (issue !== undefined) {
    const of = stepNamed(value, issue.path);
    const keys = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
    return { problem: `${of}${saidOf(issue)}`, path: [...issue.path, ...keys] };
  }
  const pipeline = read.data as Pipeline;
  const inputs = Object.keys(pipeline.inputs ?? {});
  const before: PipelineStep[] = [];
  for (const [at, each] of pipeline.steps.entries()) {
    const problem = stepProblem(each, inputs, before);
    if (problem !== undefined) return { problem: `step ${each.name}: ${problem}`, path: ["steps", at] };
    before.push(each);
  }
  return { pipeline };
}

function stepProblem(
  given: PipelineStep,
  inputs: readonly string[],
  before: readonly PipelineStep[],
): string | undefined {
  if (before.some((each) => each.name === given.name)) return "has the name of an earlier step";
  const { for_each: each, prompt, template, name: _name, ...rest } = given;
  const { of, questions } =
    typeof each === "object" ? each : { of: unitOf(each) === undefined ? each && [each] : undefined };
  if (prompt === undefined && template === undefined && questions === undefined) return "needs a prompt or a template";
  const isOver = of !== undefined && hasStep(of);
  if (typeof each === "string" && unitOf(each) === undefined && !isOver)
    return `for_each is ${JSON.stringify(each)}; allowed: ${batchUnits.join(", ")}, a list such as {{ steps.NAME.items }}`;
  if (isOver && of.length > 1) return "for_each takes files, or one list of an earlier step";
  if (each !== undefined && !isOver && of === undefined && given.files === undefined) return "for_each needs files";
  if (hasStep(given.files)) return "files are read when the pipeline begins; what an earlier step gives is its input";
  const { system: _system, input, when: _when, variables, ...fixed } = rest;
  const noSteps = each === undefined ? fixed : { ...fixed, variables };
  const wrong = Object.entries(noSteps).find(([, value]) => hasStep(value));
  if (wrong !== undefined) return `${wrong[0]} can't take from a step; prompt, system, input, for_each and when can`;
  const { found, problem } = placeholdersIn(given);
  if (problem !== undefined) return `${problem} is neither {{ inputs.NAME }} nor {{ steps.NAME.text }}`;
  if (input?.some((one) => !hasStep(one)) === true) return "input is what earlier steps gave: {{ steps.NAME }}";
  for (const placeholder of found) {
    const unknown = unknownIn(placeholder, inputs, before);
    if (unknown !== undefined) return unknown;
  }
  return undefined;
}

const hasStep = (value: unknown): boolean => placeholdersIn(value).found.some(({ of }) => of === "steps");

/** `file`, `part` or `row`. */
export function unitOf(each: string | undefined): BatchUnit | undefined {
  return batchUnits.find((unit) => unit === each);
}

function unknownIn(
  { of, name: wanted, field = "text" }: Placeholder,
  inputs: readonly string[],
  before: readonly PipelineStep[],
): string | undefined {
  const known = of === "inputs" ? inputs : before.map((each) => each.name);
  if (!known.includes(wanted)) {
    const more = meantBy(wanted, known, `; there are ${known.join(", ") || "none"}`);
    return `${of === "inputs" ? "there is no input" : "no earlier step is named"} ${wanted}${more}`;
  }
  if (of === "inputs" || field === "text" || field === "items") return undefined;
  const { format: schema, for_each: each } = before.find((step_) => step_.name === wanted) ?? {};
  const fields = typeof schema === "object" && each === undefined ? Object.keys(schema["properties"] ?? {}) : [];
  if ((schema === "json" && each === undefined) || fields.includes(field)) return undefined;
  return `step ${wanted} gives no ${field}; it gives ${["text", "items", ...fields].join(", ")}`;
}

/** `step 2 (compare): `, for a problem inside of one. */
function stepNamed(value: unknown, [first, at]: readonly PropertyKey[]): string {
  if (first !== "steps" || typeof at !== "number") return "";
  const { name: of } = (value as { steps: readonly ({ name?: unknown } | null)[] }).steps[at] ?? {};
  return `step ${at + 1}${typeof of === "string" ? ` (${of})` : ""}: `;
}

function saidOf(issue: z.core.$ZodIssue): string {
  const [first, at, ...rest] = issue.path;
  const within = (first === "steps" && typeof at === "number" ? rest : issue.path).map(String).join(".");
  if (issue.path.length === 0 && issue.code === "invalid_type") return "contains no pipeline: expected steps";
  if (issue.code !== "unrecognized_keys") return `${within} ${issue.message.replace(/^Invalid input: /, "")}`.trim();
  const [key = ""] = issue.keys;
  const known =
    issue.path[0] === "steps"
      ? Object.keys(step.shape)
      : [...Object.keys(pipelineFile.shape), ...Object.keys(pipelineInput.shape)];
  return `unknown field ${key}${meantBy(key, known, `; allowed: ${known.join(", ")}`, ", ")}`;
}

/** Files that one pattern of a batch may match. */
const mostFiles = 2000;

/**
 * A step without `for_each` is one prompt. What files and inputs say is no mark of another step. Throws `InvalidRequest`.
 */
export async function stepFrom(
  name: string,
  request: Omit<GenerationInput, "for_each"> & {
    readonly for_each?: Partial<NonNullable<GenerationInput["for_each"]>> | undefined;
  },
  context: ToolContext,
): Promise<BatchStep<GenerateRequest> | { readonly needsInput: NeedsInput }> {
  const { template, prompt, output_path: output, files = [] } = request;
  const { for_each: each, ...asked } = request;
  const { of, each: unit, reduce: _reduce, ...how } = each ?? {};
  const { questions } = how;
  if (questions !== undefined && (template !== undefined || prompt !== undefined))
    throw new InvalidRequest("questions stand in place of prompt and template", {
      next: { step: "omitArgument", argument: template === undefined ? "prompt" : "template" },
    });
  let first: FilledTemplate | undefined;
  const items: BatchItem[] = [];
  if (of === undefined) {
    const readFiles = async () => withoutMarks(await context.files.readText(files));
    const filled =
      template === undefined
        ? undefined
        : await filledFrom(template, asked, context, files.length === 0 ? undefined : readFiles);
    if (filled !== undefined && "needsInput" in filled) return filled;
    first = filled;
    items.push({ name, path: name });
  } else {
    const found = await context.files.readText(of, mostFiles);
    for (const { text, ...item } of await context.orchestrator.batches.items(found, unit)) {
      if (template === undefined) items.push({ ...item, ...defined({ text }) });
      else {
        const readFiles = () => Promise.resolve([{ path: item.path, text: text ?? "" }]);
        const filled = await filledFrom(template, asked, context, readFiles);
        if ("needsInput" in filled) return filled;
        first ??= filled;
        const own = [filled.text, prompt].filter((part) => part !== undefined).join("\n\n");
        items.push({ ...item, prompt: own, ...(!filled.hasFiles && defined({ text })) });
      }
    }
  }
  const prepared = await generationRequest({ ...asked, prompt: prompt ?? questions?.[0] }, first, context);
  return {
    name,
    request: prepared,
    items,
    ...defined({ ...how, output }),
    ...(each !== undefined && { isMany: true }),
  };
}

/** Asks about all answers of a step. */
export function reduceStep(prompt: string, { name, request }: BatchStep<GenerateRequest>): BatchStep<GenerateRequest> {
  const { model, system, privacy, maxTokens } = request;
  return {
    name: "reduce",
    request: { prompt: withoutMarks(prompt), ...defined({ model, system, privacy, maxTokens }), useMemory: false },
    items: [{ name: "reduce", path: "reduce" }],
    input: [stepMark(name)],
  };
}
