import * as z from "zod";
import { InvalidRequest } from "../orchestrator/api/errors.ts";
import type { Job } from "../orchestrator/api/facade.ts";
import { defineTool, type ToolDefinition } from "./definition.ts";
import { endOf } from "./render.ts";
import { defined, snakedOnly } from "../orchestrator/util/values.ts";

/** Characters at the end of a partial text that are shown. */
const shownCharacters = 2000;
const shownJobs = 50;
/** The longest wait, for clients without a time limit. */
const longestWaitMs = 3_600_000;

const progressOutput = z.object({
  message: z.string(),
  completed_bytes: z.number().optional(),
  total_bytes: z.number().optional(),
  completion_tokens: z.number().optional(),
});

const output = z.object({
  job: z.string().optional(),
  state: z.string().optional(),
  title: z.string().optional(),
  tool: z.string().optional(),
  progress: progressOutput.optional(),
  partial_text: z.string().optional().describe("The end of it."),
  result: z.record(z.string(), z.unknown()).optional().describe("The tool's answer."),
  error: z.string().optional(),
  note: z.string().optional(),
  next: z.string().optional(),
  jobs: z
    .array(z.object({ job: z.string(), state: z.string(), title: z.string(), message: z.string().optional() }))
    .optional(),
});

type Output = z.output<typeof output>;

/** Creates the tool `job`. Those of `tools` whose calls may become jobs render the results. */
export function createJobTool(tools: () => readonly ToolDefinition[]) {
  return defineTool({
    name: "job",
    title: "Background job",
    description:
      "A call that took too long. wait returns its answer, or asks to wait again; status: the text so far; cancel stops " +
      "it; list: the last day.",
    effect: "write",
    isIdempotent: true,
    input: z.strictObject({
      action: z.enum(["status", "wait", "cancel", "list"]),
      job_id: z.string().min(1).optional().describe("For all but list."),
    }),
    output,
    async run({ action, job_id: id }, context) {
      const { orchestrator, caller } = context;
      const { jobs } = orchestrator;
      if (action === "list") return { data: { jobs: jobs.list().slice(0, shownJobs).map(listed) } };
      if (id === undefined) throw new InvalidRequest(`job ${action} needs a job_id`, { next: { step: "listJobs" } });
      if (action === "cancel") return { data: cancelledData(await jobs.cancel(caller, id)) };
      if (action === "status") return { data: jobData(await jobs.get(caller, id)) };
      const maxWaitMs = Math.min(context.patienceMs ?? longestWaitMs, longestWaitMs);
      const waited = await jobs.wait(caller, id, { maxWaitMs, onProgress: context.report });
      return { data: waited.result === undefined ? pollData(waited) : jobData(waited) };
    },
    lean(answer) {
      const { title: _title, tool: _tool, progress, partial_text, result, ...rest } = answer;
      if (answer.jobs !== undefined) return answer;
      if (result !== undefined) return { ...rest, result: leanResult(answer, tools()) };
      const { message, completion_tokens } = progress ?? {};
      return defined({ ...rest, progress: progress && defined({ message, completion_tokens }), partial_text });
    },
    render: (answer) => (answer.jobs === undefined ? renderJob(answer, tools()) : renderList(answer.jobs)),
  });
}

function listed({ id, state, title, progress }: Job) {
  return defined({ job: id, state, title, message: progress?.message });
}

function jobData(job: Job) {
  const { title, tool, partial, result } = job;
  const { text = "", answers = [] } = partial ?? {};
  // Of a comparison the end of each answer.
  const ends = answers.map((each) => `=== ${each.model} ===\n${endOf(each.text, shownCharacters / answers.length)}`);
  const partial_text = ends.join("\n\n") || endOf(text, shownCharacters) || undefined;
  return { ...pollData(job), ...defined({ title, tool, partial_text, result }) };
}

/** The answer to a wait without a result; short, since clients wait again and again. */
function pollData({ id, state, title, progress, error, note }: Job) {
  return defined({
    job: id,
    state,
    title: progress === undefined && error === undefined ? title : undefined,
    progress: progress && snakedOnly(progress, ["message", "completedBytes", "totalBytes", "completionTokens"]),
    error,
    note,
    next: nextOf(state),
  });
}

/** Without its text, which may be long and is not what a cancel asks for. */
function cancelledData(job: Job) {
  const hasText = job.result !== undefined || (job.partial?.text ?? "") !== "";
  const text = hasText ? 'call job with action "status" and this id for its text' : undefined;
  return { ...pollData(job), ...defined({ title: job.title, next: nextOf(job.state) ?? text }) };
}

function nextOf(state: Job["state"]): string | undefined {
  return state === "running" ? `call job with action "wait" and this id` : undefined;
}

function renderList(jobs: NonNullable<Output["jobs"]>): string {
  if (jobs.length === 0) return "no jobs";
  return jobs.map(({ job, state, title, message }) => `${job} ${state}: ${message ?? title}`).join("\n");
}

function renderJob(answer: Output, tools: readonly ToolDefinition[]): string | readonly string[] {
  const { job, state, title, result, error, note, partial_text, progress, next } = answer;
  const rendered = result === undefined ? undefined : renderResult(answer, tools);
  if (rendered !== undefined) return note === undefined ? rendered : [...rendered, note];
  const head = `${job} ${state}: ${[error ?? progress?.message ?? title, note].filter(Boolean).join("; ")}`;
  const lines = next === undefined ? head : `${head}\n${next}`;
  return partial_text === undefined ? lines : [partial_text, lines];
}

/** The result as its tool renders it, or as JSON if it does not match the tool's schema. */
function renderResult(answer: Output, tools: readonly ToolDefinition[]): readonly string[] | undefined {
  const known = knownResult(answer, tools);
  if (known === undefined) return answer.result && [JSON.stringify(answer.result)];
  const rendered = known.tool.render(known.data);
  return typeof rendered === "string" ? [rendered] : rendered;
}

/** The result as its tool gives it to assistants. */
function leanResult(answer: Output, tools: readonly ToolDefinition[]): Output["result"] {
  const known = knownResult(answer, tools);
  return known?.tool.lean?.(known.data) ?? answer.result;
}

/** The result with the tool that made it; undefined if it does not match the tool's schema. */
function knownResult({ tool: name, result }: Output, tools: readonly ToolDefinition[]) {
  const tool = tools.find((each) => each.canBecomeJob === true && each.name === name);
  const parsed = tool?.output.safeParse(result);
  return tool !== undefined && parsed?.success === true ? { tool, data: parsed.data } : undefined;
}
