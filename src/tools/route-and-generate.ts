import { samplingFrom, samplingInput, samplingOf } from "../orchestrator/api/sampling.ts";
import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { type Check, checks, splits } from "../orchestrator/api/facade-answers.ts";
import type { ReadFiles } from "../orchestrator/api/facade-templates.ts";
import type { GenerateRequest, GenerateResult, RoutePlan } from "../orchestrator/api/facade.ts";
import type { CallerContext } from "../orchestrator/api/types.ts";
import { filesNamedIn } from "../orchestrator/util/file-name.ts";
import { cachedText, counted, formatAmount, reliabilityLines } from "../orchestrator/util/format-bytes.ts";
import {
  checkData,
  checkOutput,
  explainLines,
  valuesData,
  partsReadData,
  partsReadOutput,
  queryOutput,
  routeData,
  routeLines,
  routeOutput,
} from "./answer-details.ts";
import { type ToolContext, defineTool, writesByModel } from "./definition.ts";
import { keepAliveInput, planData, planOutput, renderPlan } from "./smart-load.ts";
import { type FilledTemplate, renderedFrom, splitOf } from "./render-template.ts";
import { asLine, finishReasonOutput, noteLines, notesFor, round, taskNamed } from "./render.ts";
import { defined } from "../orchestrator/util/defined.ts";

const input = z.strictObject({
  prompt: z.string().min(1).optional().describe("Needed without template."),
  system: z.string().optional(),
  task: z
    .string()
    .optional()
    .describe(
      "code, debugging, code_review, reasoning, summarization, extraction, translation, question_answering, transcription, creative, fast, general, vision",
    ),
  complexity: z.enum(["low", "medium", "high"]).optional(),
  profile: z.string().optional().describe("ollm://profiles."),
  model: z.string().min(1).optional().describe("Chosen when absent."),
  files: z
    .array(z.string().min(1))
    .max(64)
    .optional()
    .describe("Text files, git:staged, git:diff, git:diff:REF, git:log:N, git:show:REF; they cost no tokens."),
  images: z.array(z.string().min(1)).max(16).optional().describe("Paths."),
  audio: z.array(z.string().min(1)).max(4).optional().describe("WAV or MP3."),
  format: z
    .union([z.literal("json"), z.record(z.string(), z.unknown())])
    .optional()
    .describe('JSON Schema, or "json".'),
  max_tokens: z.number().int().min(1).optional(),
  ...samplingInput(true),
  context_tokens: z.number().int().min(1).optional().describe("Minimum window."),
  think: z.union([z.boolean(), z.enum(["low", "medium", "high"])]).optional(),
  keep_alive: keepAliveInput.optional().describe('Seconds or "10m"; 0 unloads then, -1 never.'),
  privacy: z.enum(["local_only", "allow_remote"]).optional().describe("Only restricts."),
  use_memory: z.boolean().optional().describe("false: no saved facts."),
  cache_prompt: z.boolean().optional().describe("false: not kept."),
  template: z.string().min(1).optional(),
  variables: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .optional()
    .describe("By name."),
  continue_id: z.string().min(1).optional().describe('"new", or an id.'),
  output_path: z.string().min(1).optional().describe("New file."),
  check: z
    .union([z.enum(checks), z.record(z.string(), z.string())])
    .optional()
    .describe(
      "quotes: the lines of files behind statements; judged: by a model, too; agree: of 3 answers; {command: NAME}, {agree: MODEL}.",
    ),
  split: z.enum(splits).optional().describe("auto: a long prompt in parts."),
  grounded: z.boolean().optional().describe("false: keep values not in files."),
  explain: z.boolean().optional().describe("Add reason, timing."),
  dry_run: z.boolean().optional().describe("Only choose the model."),
});

const output = z.object({
  text: z.string().optional(),
  output_path: z.string().optional(),
  characters: z.number().optional(),
  model: z.string(),
  engine: z.string(),
  where: z.string().optional(),
  task: z.string().optional(),
  finish_reason: finishReasonOutput.optional(),
  reason: z.string(),
  prompt_tokens: z.number().optional(),
  completion_tokens: z.number().optional(),
  tokens_per_second: z.number().optional(),
  total_ms: z.number().optional(),
  cost: z.object({ amount: z.number(), currency: z.string(), date: z.string().optional() }).optional(),
  thinking: z.string().optional(),
  notes: z.array(z.string()).optional(),
  plan: planOutput.optional(),
  route: routeOutput.optional(),
  timing: z
    .object({
      queue_ms: z.number(),
      load_ms: z.number(),
      first_token_ms: z.number(),
      cached: z.string().optional(),
    })
    .optional(),
  memory_used: z.object({ keys: z.array(z.string()), tokens: z.number() }).optional(),
  continue_id: z.string().optional(),
  conversation_tokens: z.number().optional(),
  check: checkOutput.optional(),
  parts: partsReadOutput.optional(),
  query: queryOutput.optional(),
  values: z.object({ where: z.record(z.string(), z.string()), not_judged: z.array(z.string()).optional() }).optional(),
});

export const routeAndGenerate = defineTool({
  name: "route_and_generate",
  title: "Generate with a local model",
  description:
    "Answer a prompt with the best local model that fits, loading it if needed. Hand over summaries, extraction, " +
    "drafts, commit messages and private text; name long inputs in files instead of pasting them.",
  ...writesByModel,
  input,
  output,
  async run(request, context) {
    const { orchestrator, caller, follow } = context;
    // Before the model runs: an answer that can't be written would be lost.
    const target = request.output_path === undefined ? undefined : await context.files.openOutput(request.output_path);
    const filled = request.template === undefined ? undefined : await filledFrom(request.template, request, context);
    if (filled !== undefined && "needsInput" in filled) return filled;
    const generation = await generationRequest(request, filled, context);
    if (request.dry_run === true) {
      return { data: planAnswer(caller, await orchestrator.planGeneration(caller, generation)) };
    }
    const generated = await follow(await orchestrator.generate(caller, generation));
    const result = {
      ...generated,
      notes: [...generated.notes, ...(await fileNotes(request, generated, context))],
    };
    const written = target && { path: target.path, ...(await target.write(result.text)) };
    const shown = { isExplained: request.explain === true, isThinkingShown: Boolean(request.think) };
    return { data: answer(caller, result, written?.path, shown) };
  },
  lean: (answered) => (answered.route === undefined ? leanAnswer(answered) : answered),
  render(answered) {
    const { text, output_path, characters, model, finish_reason, tokens_per_second, cost } = answered;
    const { plan, reason, notes } = answered;
    if (plan !== undefined) {
      const inParts = answered.parts === undefined ? "" : `; to be read in ${counted(answered.parts.total, "part")}`;
      return [`${renderPlan(model, plan)}; ${reason}${inParts}`, ...noteLines(notes), ...routeLines(answered)].join(
        "\n",
      );
    }
    const cut = finish_reason === "length" ? ", cut at max_tokens" : "";
    const speed = tokens_per_second === undefined ? "" : `, ${tokens_per_second} tokens/s`;
    const place = answered.where === undefined ? "" : `, ${answered.where}`;
    const figures = `${model}${place}${speed}${cost === undefined ? "" : `, ${formatAmount(cost.amount, cost.currency)}`}${cut}`;
    const rest = [
      ...noteLines(notes),
      ...reliabilityLines(answered).map(asLine),
      ...conversationLines(answered),
      ...(answered.route === undefined ? [] : explainLines(answered)),
    ];
    if (text === undefined) {
      return [`Wrote ${counted(characters ?? 0, "character")} to ${output_path} (${figures})`, ...rest].join("\n");
    }
    return [text, [figures, ...rest].join("\n")];
  },
});

type Answer = z.output<typeof output>;
type Input = z.output<typeof input>;

/** Without the figures, which only `explain` shows. */
function leanAnswer(answered: Answer): Readonly<Record<string, unknown>> {
  const lean: Record<string, unknown> = {};
  const isWhole = answered.finish_reason === "stop";
  for (const name in answered)
    if (!figures.has(name) && !(isWhole && name === "finish_reason")) lean[name] = answered[name as keyof Answer];
  return lean;
}

const figures: ReadonlySet<string> = new Set<keyof Answer>([
  "engine",
  "task",
  "reason",
  "prompt_tokens",
  "completion_tokens",
  "tokens_per_second",
  "total_ms",
  "conversation_tokens",
]);

function conversationLines({ continue_id, conversation_tokens }: Answer): readonly string[] {
  if (continue_id === undefined) return [];
  const tokens = conversation_tokens === undefined ? "" : ` (${counted(conversation_tokens, "token")})`;
  return [`continue_id "${continue_id}" continues this conversation${tokens}`];
}

function filesOf({ files: names }: Input, context: Pick<ToolContext, "files">): ReadFiles | undefined {
  return names === undefined || names.length === 0 ? undefined : () => context.files.readText(names);
}

/**
 * What the files of a call have to say. A prompt may name files that were not passed, and reading in parts takes long
 * enough for an edit.
 */
async function fileNotes(
  { prompt, ...request }: z.output<typeof input>,
  { parts }: GenerateResult,
  context: ToolContext,
): Promise<readonly string[]> {
  const isPlain = !isGiven(request.files) && !isGiven(request.images) && !isGiven(request.audio);
  if (isPlain && request.template === undefined && request.continue_id === undefined) {
    const named = prompt === undefined ? [] : filesNamedIn(prompt);
    const unread = named.length === 0 ? [] : await context.files.existing(named);
    if (unread.length === 0) return [];
    const step = await context.worded({ step: "nameFileIn", argument: "files" });
    return [`the prompt names ${unread.join(", ")}, which was not read. ${step}`];
  }
  const { files } = context;
  const changes = parts === undefined ? [] : await files.changes();
  return [
    ...files.notes(),
    ...changes.map(({ path, isGone }) =>
      isGone
        ? `${path} was removed while it was read: the answer describes it as it was`
        : `${path} changed while it was read: the answer describes the earlier version`,
    ),
  ];
}

const isGiven = (names: readonly string[] | undefined): boolean => names !== undefined && names.length > 0;

/** Fills a template. A prompt without files fills the variable that files would fill, if that has no value. */
async function filledFrom(template: string, request: Input, context: ToolContext) {
  const { orchestrator, caller } = context;
  const { prompt, variables } = request;
  const readFiles = filesOf(request, context);
  const first = await renderedFrom(orchestrator, caller, template, variables, readFiles);
  if (!("needsInput" in first) || prompt === undefined || readFiles !== undefined) return first;
  const [open] = Object.entries(first.needsInput.fields).find(([, { isFromFiles }]) => isFromFiles === true) ?? [];
  if (open === undefined) return first;
  const filled = await renderedFrom(orchestrator, caller, template, { ...variables, [open]: prompt });
  return "needsInput" in filled ? filled : { ...filled, hasPrompt: true };
}

/** An object names one thing: `{command: NAME}`. */
function checkIn(given: NonNullable<Input["check"]>): Check {
  if (typeof given === "string") return given;
  const [[kind, name] = [], ...others] = Object.entries(given);
  if (name !== undefined && others.length === 0) {
    if (kind === "command") return { command: name };
    if (kind === "agree") return { agree: name };
  }
  throw new InvalidRequest(
    `check is ${JSON.stringify(given)}; allowed: ${checks.join(", ")}, {command: NAME}, {agree: MODEL}`,
    { next: { step: "omitArgument", argument: "check" } },
  );
}

/** Creates the request; its own arguments override those of its template. */
async function generationRequest(
  request: Input,
  filled: (FilledTemplate & { readonly hasPrompt?: boolean }) | undefined,
  context: ToolContext,
): Promise<GenerateRequest> {
  if (filled === undefined && request.variables !== undefined) {
    throw new InvalidRequest("variables belong to a template, and none is given", {
      next: [
        { step: "setArgument", argument: "template" },
        { step: "omitArgument", argument: "variables" },
      ],
    });
  }
  const own = filled?.hasPrompt === true ? undefined : request.prompt;
  const parts = [filled?.text, own].filter((part) => part !== undefined);
  if (parts.length === 0) {
    throw new InvalidRequest("prompt is missing", {
      next: [
        { step: "setArgument", argument: "prompt" },
        { step: "setArgument", argument: "template" },
      ],
    });
  }
  return defined({
    prompt: parts.join("\n\n"),
    system: request.system ?? filled?.system,
    task: taskNamed(request.task),
    complexity: request.complexity,
    profile: request.profile ?? filled?.profile,
    // Models write it for "chosen when absent".
    model: (request.model?.toLowerCase() === "auto" ? undefined : request.model) ?? filled?.model,
    // Files that filled the template are in its text.
    files: filled?.hasFiles === true ? undefined : await filesOf(request, context)?.(),
    images: request.images?.length ? await context.files.readImages(request.images) : undefined,
    audio: request.audio?.length ? await context.files.readAudio(request.audio) : undefined,
    format: request.format ?? filled?.format,
    maxTokens: request.max_tokens ?? filled?.maxTokens,
    ...samplingOf(filled ?? {}),
    ...samplingFrom(request),
    contextTokens: request.context_tokens,
    think: request.think,
    keepAliveSeconds: request.keep_alive,
    privacy: request.privacy,
    useMemory: request.use_memory,
    cachePrompt: request.cache_prompt,
    continueId: request.continue_id,
    check: request.check && checkIn(request.check),
    grounded: request.grounded,
    split: request.split ?? (filled && splitOf(filled).split),
  });
}

function answer(
  caller: CallerContext,
  result: GenerateResult,
  path: string | undefined,
  shown: { readonly isExplained: boolean; readonly isThinkingShown: boolean },
): z.input<typeof output> {
  const { timing } = result;
  return defined({
    text: path === undefined ? result.text : undefined,
    output_path: path,
    characters: path === undefined ? undefined : result.text.length,
    model: result.model,
    engine: result.engine,
    // Only an answer of this machine needs no word about it.
    where: result.isRemote === true ? `sent to ${result.engine}` : undefined,
    task: result.route.task,
    finish_reason: result.finishReason,
    reason: result.reason,
    prompt_tokens: result.promptTokens,
    completion_tokens: result.completionTokens,
    tokens_per_second: result.tokensPerSecond === 0 ? undefined : round(result.tokensPerSecond),
    total_ms: Math.round(result.totalMs),
    // Where it is estimated, a note says so.
    cost: result.cost && { amount: result.cost.amount, currency: result.cost.currency, date: result.cost.date },
    // Long, so only if requested.
    thinking: shown.isThinkingShown ? result.thinking : undefined,
    notes: notesFor(caller, result.notes),
    continue_id: result.continueId,
    conversation_tokens: result.conversationTokens,
    check: result.check && checkData(result.check),
    parts: result.parts && partsReadData(result.parts),
    query: result.query && { ...result.query, rows: [...result.query.rows] },
    ...(shown.isExplained && {
      values: result.values && valuesData(result.values),
      memory_used: result.memoryUsed && { keys: [...result.memoryUsed.keys], tokens: result.memoryUsed.tokens },
      route: routeData(result.route),
      timing: {
        queue_ms: Math.round(timing.queueMs),
        load_ms: Math.round(timing.loadMs),
        first_token_ms: Math.round(timing.firstTokenMs),
        ...defined({ cached: cachedText(result) }),
      },
    }),
  });
}

function planAnswer(caller: CallerContext, plan: RoutePlan): z.input<typeof output> {
  return defined({
    model: plan.model,
    engine: plan.engine,
    reason: plan.reason,
    plan: planData(plan.plan),
    parts: plan.parts && partsReadData(plan.parts),
    notes: notesFor(caller, plan.notes),
    route: routeData(plan.route),
  });
}
