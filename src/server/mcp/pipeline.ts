import { type CallToolResult, type InputRequiredResult, ProtocolError } from "@modelcontextprotocol/server";
import { errorKey } from "../../next-steps/render.ts";
import type { NeedsInput } from "../../orchestrator/api/errors.ts";
import type { Job } from "../../orchestrator/api/facade.ts";
import type { CallerContext, Operation } from "../../orchestrator/api/types.ts";
import { type Timers, systemTimers } from "../../orchestrator/util/timers.ts";
import type { ToolAnswer, ToolContext, ToolDefinition } from "../../tools/definition.ts";
import { type OpenHome, type ServerParts, callerContext, homeOf } from "../daemon/server-parts.ts";
import { filesOfCaller } from "../files/files.ts";
import { textFor, withErrors } from "../files/hide-paths.ts";
import { answersTo, askAboutProject, isAnswered, missingInput, notAgreed, question, withAnswers } from "./ask-user.ts";
import { type CallFacts, type CallOutcome, failureOf, promptOf, successOf, withoutText } from "./call-facts.ts";
import { type DetachableRun, createDetachableRun } from "./detachable-run.ts";
import { errorDataOf, errorText } from "./error-text.ts";
import { checkOffered } from "./offered-tools.ts";
import { createProgressReporter, progressText } from "./progress.ts";
import { taskAnswer } from "./tasks.ts";
import { validateInput } from "./validate-input.ts";

type Data = Readonly<Record<string, unknown>>;
type Reporter = ReturnType<typeof createProgressReporter>;
type CallResult = CallToolResult | InputRequiredResult;
type Ended =
  | { readonly answer: ToolAnswer<Record<string, unknown>> }
  /** The call was detached: its operation continues as a background job. */
  | { readonly detached: Operation<unknown> };

/**
 * One call of one tool, from raw arguments to an MCP result. A failure is a result with `isError`; a `ProtocolError` is
 * thrown only for a tool that is not offered to this caller.
 */
export async function callTool(
  tool: ToolDefinition,
  facts: CallFacts,
  parts: ServerParts,
  timers: Timers = systemTimers,
): Promise<CallResult> {
  const startedAtMs = timers.now();
  const { notifyProgress } = facts;
  const progress = notifyProgress && createProgressReporter(notifyProgress, tool.title, timers);
  let ended: CallOutcome = { outcome: "ok" };
  let asked: ReturnType<typeof promptOf> = {};
  let opened: OpenHome | undefined;
  try {
    const input = validateInput(tool, facts.arguments);
    asked = promptOf(input);
    const home = await homeOf(parts, facts);
    opened = home;
    checkOffered(tool.name, facts.client, home);
    const asking = await askAboutProject(tool, facts, parts, home);
    if ("asks" in asking) {
      ended = { outcome: "asked" };
      return asking.asks;
    }
    const { result, outcome } = await runCall(tool, input, { facts, parts, home: asking.home, progress, timers });
    ended = outcome;
    return result;
  } catch (error) {
    ended = failureOf(error);
    if (error instanceof ProtocolError) throw error;
    const shown = textFor(parts, opened, facts.arguments);
    const text = shown(errorText(error, tool.name, parts.log));
    const data = facts.wantsErrorData === true ? errorDataOf(error, shown) : undefined;
    return {
      content: [{ type: "text", text }],
      isError: true,
      ...(data !== undefined && { _meta: { [errorKey]: data } }),
    };
  } finally {
    progress?.stop();
    parts.noteCall?.({
      client: facts.client,
      tool: tool.name,
      durationMs: timers.now() - startedAtMs,
      ...(parts.notesPrompts?.() === true ? { ...asked, ...ended } : withoutText(ended)),
    });
  }
}

async function runCall(
  tool: ToolDefinition,
  input: Record<string, unknown>,
  call: {
    readonly facts: CallFacts;
    readonly parts: ServerParts;
    readonly home: OpenHome;
    readonly progress: Reporter | undefined;
    readonly timers: Timers;
  },
): Promise<{ readonly result: CallResult; readonly outcome: CallOutcome }> {
  const { facts, parts, home, progress, timers } = call;
  const patience = patienceMs({
    client: facts.client,
    hasProgressToken: facts.notifyProgress !== undefined,
    configuredSeconds: home.callerSettings.patienceSeconds,
  });
  const run = createDetachableRun({ signal: facts.signal, patienceMs: patience, timers });
  const caller = callerContext({ client: facts.client, signal: run.signal }, parts, home);
  const shown = textFor(parts, home, facts.arguments);
  try {
    const answer = runTool(tool, input, facts, createContext({ facts, parts, home, progress, caller, run, patience }));
    const ended = await Promise.race<Ended>([
      answer.then((given) => ({ answer: given })),
      run.detached.then((operation) => ({ detached: operation })),
    ]);
    if ("detached" in ended) {
      const job = home.orchestrator.jobs.adopt(caller, {
        tool: tool.name,
        operation: ended.detached,
        outcome: answer.then((given) => finalData(given)),
        errorText: (error) => shown(errorText(error, tool.name, parts.log)),
      });
      const { keepHours } = home.orchestrator.jobs;
      return { result: facts.takesTasks ? taskAnswer(job, keepHours) : jobAnswer(job), outcome: { outcome: "job" } };
    }
    if ("needsInput" in ended.answer) {
      return { result: question(ended.answer.needsInput), outcome: { outcome: "asked" } };
    }
    const data = parts.caller.mayOfferRoots ? ended.answer.data : (withErrors(ended.answer.data, shown) as Data);
    return { result: resultOf(tool, data), outcome: successOf(data) };
  } finally {
    run.end();
  }
}

/** Runs the tool. One that needs input runs again with the user's answers, or returns its question. */
async function runTool(
  tool: ToolDefinition,
  input: Readonly<Record<string, unknown>>,
  facts: CallFacts,
  context: ToolContext,
): Promise<ToolAnswer<Record<string, unknown>>> {
  const first = await tool.run(input, context);
  return "needsInput" in first ? runWithAnswers(tool, first.needsInput, facts, context) : first;
}

async function runWithAnswers(
  tool: ToolDefinition,
  needs: NeedsInput,
  facts: CallFacts,
  context: ToolContext,
): Promise<ToolAnswer<Record<string, unknown>>> {
  if (!facts.canAsk) throw missingInput(needs);
  const answers = answersTo(needs, facts.inputResponses);
  if (answers === undefined) return { needsInput: needs };
  // The answers are validated as strictly as the arguments were.
  const isUserOnly = needs.userOnly !== undefined;
  const given = rawObject(facts.arguments);
  const parsed = validateInput(tool, isUserOnly ? given : withAnswers(given, needs, answers));
  const again = await tool.run(parsed, isUserOnly ? { ...context, answers } : context);
  if (!("needsInput" in again)) return again;
  if (isAnswered(again.needsInput, answers)) throw notAgreed(needs.message);
  // A question that only the user may answer may have changed since: then the answers belong to another question.
  if (!isUserOnly && isAnswered(again.needsInput, needs.fields)) throw missingInput(again.needsInput);
  return again;
}

function rawObject(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}

function createContext(call: {
  readonly facts: CallFacts;
  readonly parts: ServerParts;
  readonly home: OpenHome;
  readonly progress: Reporter | undefined;
  readonly caller: CallerContext;
  readonly run: DetachableRun;
  readonly patience: number | undefined;
}): ToolContext {
  const { facts, parts, home, progress, caller, run, patience } = call;
  return {
    orchestrator: home.orchestrator,
    caller,
    files: filesOfCaller({ clientRoots: facts.clientRoots, signal: caller.signal }, parts, home),
    ...(patience !== undefined && { patienceMs: patience }),
    report: (step) => progress?.report(step),
    async follow(operation) {
      run.followed(operation);
      const tellRest = facts.wantsText ? progress?.followText(() => operation.partial()) : undefined;
      try {
        return await operation.follow(run.signal, progress && ((step) => progress.report(step)));
      } finally {
        tellRest?.();
      }
    },
  };
}

/** A detached run has no client left to ask. */
function finalData(answer: ToolAnswer<Record<string, unknown>>): Data {
  if ("needsInput" in answer) throw missingInput(answer.needsInput);
  return answer.data;
}

/** The answer to a call that continues as a background job. The structured form has the next step, too. */
function jobAnswer(job: Job): CallToolResult {
  const now = job.progress === undefined ? job.title : progressText(job.progress);
  const next = `call job with action "wait" and job_id "${job.id}"`;
  return {
    content: [{ type: "text", text: `Still running (${now}). To get the answer, ${next}.` }],
    structuredContent: { job: job.id, next },
  };
}

/**
 * Clients, by name, that wait as long as progress arrives. Any other client is assumed to cut a call at an unknown time,
 * as these do:
 *
 * | client            | cuts a call                                          | source                                   |
 * |-------------------|------------------------------------------------------|------------------------------------------|
 * | Codex             | after 60 s (`tool_timeout_sec`), progress or not     | openai/codex pull 3959                   |
 * | Claude Desktop    | after some 60 or 240 s, not configurable             | anthropics/claude-code issues 22542, 65643 |
 * | Claude Cowork     | after 60 s, progress or not                          | anthropics/claude-code issue 58687       |
 * | SDK clients       | after 60 s, unless told to restart it with progress  | `DEFAULT_REQUEST_TIMEOUT_MSEC`           |
 * | Gemini CLI        | after 10 min, or what its `timeout` says             | its docs/tools/mcp-server.md             |
 *
 * Claude Code restarts its idle timer at every progress notification; `ollm` is our own shell.
 */
const patientClients: readonly string[] = ["claude-code", "ollm"];

/**
 * Milliseconds after which a call of `client` is detached and answered with a job; undefined: no limit. A client that
 * requests no progress gets the limit, even a patient one.
 */
export function patienceMs({
  client,
  hasProgressToken,
  configuredSeconds,
}: {
  readonly client: string;
  readonly hasProgressToken: boolean;
  /** `jobs.patience`. */
  readonly configuredSeconds: number;
}): number | undefined {
  return hasProgressToken && patientClients.includes(client) ? undefined : configuredSeconds * 1000;
}

/** A tool's data as an answer, as text and structured; `data` matches the tool's output. */
export function resultOf(tool: ToolDefinition, data: Record<string, unknown>): CallToolResult {
  const rendered = tool.render(data);
  const texts = typeof rendered === "string" ? [rendered] : rendered;
  return { content: texts.map((text) => ({ type: "text" as const, text })), structuredContent: data };
}
