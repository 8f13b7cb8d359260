import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import { type Check, checks, splits } from "../orchestrator/api/facade-answers.ts";
import type { ReadFiles } from "../orchestrator/api/facade-templates.ts";
import type { GenerateRequest } from "../orchestrator/api/facade.ts";
import { samplingFrom, samplingInput, samplingOf } from "../orchestrator/api/sampling.ts";
import { defined } from "../orchestrator/util/values.ts";
import type { ToolContext } from "./definition.ts";
import { forEachInput } from "./for-each.ts";
import { type FilledTemplate, renderedFrom } from "./templates.ts";
import { taskNamed } from "./render.ts";
import { keepAliveInput } from "./smart-load.ts";

/** The input of `route_and_generate`. */
export const generationInput = z.strictObject({
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
  for_each: forEachInput.optional().describe("Ask of many texts: a job."),
});

export type GenerationInput = z.output<typeof generationInput>;

function filesOf({ files: names }: GenerationInput, context: Pick<ToolContext, "files">): ReadFiles | undefined {
  return names === undefined || names.length === 0 ? undefined : () => context.files.readText(names);
}

/** Fills a template. A prompt without files fills the variable that files would fill, if that has no value. */
export async function filledFrom(
  template: string,
  request: GenerationInput,
  context: ToolContext,
  readFiles = filesOf(request, context),
) {
  const { orchestrator, caller } = context;
  const { prompt, variables } = request;
  const first = await renderedFrom(orchestrator, caller, template, variables, readFiles);
  if (!("needsInput" in first) || prompt === undefined || readFiles !== undefined) return first;
  const [open] = Object.entries(first.needsInput.fields).find(([, { isFromFiles }]) => isFromFiles === true) ?? [];
  if (open === undefined) return first;
  const filled = await renderedFrom(orchestrator, caller, template, { ...variables, [open]: prompt });
  return "needsInput" in filled ? filled : { ...filled, hasPrompt: true };
}

/** An object names one thing: `{command: NAME}`. */
function checkIn(given: NonNullable<GenerationInput["check"]>): Check {
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
export async function generationRequest(
  request: GenerationInput,
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
    split: request.split ?? filled?.split,
  });
}
