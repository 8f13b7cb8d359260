import { randomBytes } from "node:crypto";
import { type CallerContext, isShell, type Operation } from "../../orchestrator/api/types.ts";
import { type CallToolResult, type InputRequiredResult, ProtocolError } from "@modelcontextprotocol/server";
import type { Job } from "../../orchestrator/api/facade.ts";
import { hideKeys } from "../../orchestrator/util/control-characters.ts";
import { type Timers, systemTimers } from "../../orchestrator/util/timers.ts";
import type { ToolAnswer, ToolContext, ToolDefinition, ToolFiles } from "../../tools/definition.ts";
import { type View, type Caller, homeOf, rootsOf } from "./caller.ts";
import { allowedRoots, foldersOfUris } from "../files/allowed-paths.ts";
import { createFiles } from "../files/files.ts";
import {
  agreesNow,
  answersTo,
  askAboutProject,
  isAnswered,
  missingInput,
  notAgreed,
  question,
  withAnswers,
} from "./ask-user.ts";
import { type Call, type CallOutcome, failureOf, callEnd } from "./call.ts";
import { errorText, protocolData, textFor, withErrors, wordedFor } from "./error-text.ts";
import { callerContext, checkOffered } from "./offered-tools.ts";
import { createProgressReporter, progressText, detailsKey } from "./progress.ts";
import { validateInput } from "./validate-input.ts";
import { defined } from "../../orchestrator/util/values.ts";

type Data = Readonly<Record<string, unknown>>;
type Answer = ToolAnswer<Record<string, unknown>>;
type CallResult = CallToolResult | InputRequiredResult;

/**
 * One call of one tool, from raw arguments to an MCP result. A failure is a result with `isError`; a `ProtocolError` is
 * thrown only for a tool that is not offered to this caller.
 */
export async function callTool(
  tool: ToolDefinition,
  given: unknown,
  facts: Call,
  parts: Caller,
  timers: Timers = systemTimers,
): Promise<CallResult> {
  const startedAtMs = timers.now();
  const { notifyProgress, client } = facts;
  const progress = notifyProgress && createProgressReporter(notifyProgress, tool.title, timers);
  let ended: CallOutcome = { outcome: "ok" };
  let prompt: unknown;
  let isNoted = false;
  let { trace } = facts;
  let opened: View | undefined;
  try {
    const input = validateInput(tool, given);
    prompt = input["prompt"];
    opened = await homeOf(parts, facts);
    checkOffered(tool.name, client, opened);
    isNoted = parts.notesPrompts?.() === true;
    // The request's row is found by it, which has no texts.
    if (isNoted) trace ??= { id: randomBytes(16).toString("hex") };
    if (opened.project?.waitingDigest !== undefined && mayAskAboutProject(tool, facts, parts)) {
      const asking = await askAboutProject(facts, parts, opened);
      if ("asks" in asking) {
        ended = { outcome: "asked" };
        return asking.asks;
      }
      opened = asking.home;
    }
    const { result, outcome } = await runTool(
      { tool, given, facts, parts, home: opened, progress, timers, trace },
      input,
    );
    ended = outcome;
    return result;
  } catch (error) {
    ended = failureOf(error);
    if (error instanceof ProtocolError) throw error;
    const shown = textFor(parts, opened, given);
    const text = shown(errorText(error, tool.name, parts.log));
    const _meta = protocolData(error, facts, shown);
    return { content: [{ type: "text", text }], isError: true, ...defined({ _meta }) };
  } finally {
    progress?.stop();
    const durationMs = timers.now() - startedAtMs;
    const { answer, ...outcome } = ended;
    // It may have been turned off meanwhile.
    isNoted &&= parts.notesPrompts?.() === true;
    parts.noteCall?.({
      client,
      tool: tool.name,
      durationMs,
      ...outcome,
      ...(trace && { trace: trace.id }),
      ...(isNoted && typeof prompt === "string" && { prompt: hideKeys(prompt) }),
      ...(isNoted && answer !== undefined && { answer: hideKeys(answer) }),
    });
  }
}

interface ToolCall {
  readonly tool: ToolDefinition;
  readonly given: unknown;
  readonly facts: Call;
  readonly parts: Caller;
  readonly home: View;
  readonly progress: ReturnType<typeof createProgressReporter> | undefined;
  readonly timers: Timers;
  readonly trace: Call["trace"];
}

/** A context whose `answers` are those of the user to a question that only the user may answer. */
type Context = ToolContext & { answers?: Readonly<Record<string, unknown>> };

/** Lets a tool work for one call, and tells how that ended. */
async function runTool(
  call: ToolCall,
  input: Record<string, unknown>,
): Promise<{ readonly result: CallResult; readonly outcome: CallOutcome }> {
  const { tool, given, facts, parts, home, progress, timers, trace } = call;
  const { client } = facts;
  const afterMs = patienceMs(client, progress !== undefined, home.callerSettings.jobs.patience);
  const run = detachableRun(facts.requestSignal, afterMs, timers);
  const { signal } = run;
  let files: ToolFiles | undefined;
  const context: Context = {
    orchestrator: home.orchestrator,
    caller: callerContext({ client, clientVersion: facts.clientVersion, trace, signal }, parts, home),
    ...defined({ patienceMs: afterMs }),
    ...(facts.isChat && facts.askNow && facts.canAsk && { agrees: (message: string) => agreesNow(facts, message) }),
    get files() {
      return (files ??= filesOfCaller({ clientRoots: () => facts.clientRoots(), signal }, parts, home));
    },
    worded: (next) => wordedFor(client, next),
    report: (step) => progress?.report(step),
    follow: async (operation, isJob) => {
      run.followed(operation, isJob);
      if (progress === undefined) return operation.follow(signal);
      const tellRest = facts.wantsText ? progress.followText(() => operation.partial()) : undefined;
      try {
        return await operation.follow(signal, (step) => progress.report(step));
      } finally {
        tellRest?.();
      }
    },
  };
  try {
    const answer = answerOf(call, context, input);
    // A detached call continues as a background job.
    const ended = await run.ended(answer);
    if ("detached" in ended)
      return { result: asJob(call, context, ended.detached, answer), outcome: { outcome: "job" } };
    if ("needsInput" in ended.answer)
      return { result: question(ended.answer.needsInput), outcome: { outcome: "asked" } };
    const { data: own } = ended.answer;
    const data = parts.mayOfferRoots ? own : (withErrors(own, textFor(parts, home, given)) as Data);
    const result = resultOf(tool, data, facts);
    noteRead(home, context.caller, tool.name, data, result);
    return { result, outcome: successOf(data) };
  } finally {
    run.end();
  }
}

/** Claude Code and Codex, and those of `takesBoth`: their model reads the structured form (docs/assistants.md). */
const readsStructured = /^(?:claude-code|codex-mcp-client|copilot-cli|@cline\/core|qwen-cli-mcp-client)/;

/** Tools whose answers models wrote; comparisons save nothing, so reading them costs none of it. */
const answering = /^(?:route_and_generate|render_template|run_pipeline|delegate)$/;

/** Counts what an assistant reads of a model's answer, also of one that a job had; not what the user of our shell and pages does. */
export function noteRead(
  { orchestrator }: Pick<ToolCall["home"], "orchestrator">,
  caller: CallerContext,
  name: string | undefined,
  data: object,
  { structuredContent, content }: CallToolResult,
): void {
  const { result: own = data as Data, tool: of = name } = data as { readonly result?: Data; readonly tool?: string };
  if (isShell(caller.client) || !answering.test(of ?? "") || own["plan"] !== undefined) return;
  let read = structuredContent && readsStructured.test(caller.client) ? JSON.stringify(structuredContent) : "";
  if (read === "") for (const part of content) if (part.type === "text") read += part.text;
  const { task } = own;
  orchestrator.metrics.noteRead(caller, typeof task === "string" ? task : "general", read);
}

/** A successful outcome with the model that the answer names (`model`, or `name` for tools about models) and its text. */
function successOf(data: Readonly<Record<string, unknown>>): CallOutcome {
  const model = data["model"] ?? data["name"];
  const { text: answer } = data;
  return {
    outcome: "ok",
    ...(typeof model === "string" && { model }),
    ...(typeof answer === "string" && { answer }),
  };
}

/** Runs the tool. One that needs input runs again with the user's answers, or returns its question. */
async function answerOf({ tool, facts, given }: ToolCall, context: Context, input: Data): Promise<Answer> {
  const first = await tool.run(input, context);
  if (!("needsInput" in first)) return first;
  const { needsInput: needs } = first;
  if (!facts.canAsk) throw missingInput(needs);
  const answers = answersTo(needs, facts.inputResponses);
  if (answers === undefined) return { needsInput: needs };
  // The answers are validated as strictly as the arguments were.
  const isUserOnly = needs.userOnly !== undefined;
  const raw = typeof given === "object" && given !== null ? given : {};
  const parsed = validateInput(tool, isUserOnly ? raw : withAnswers(raw, needs, answers));
  if (isUserOnly) context.answers = answers;
  const again = await tool.run(parsed, context);
  if (!("needsInput" in again)) return again;
  if (isAnswered(again.needsInput, answers)) throw notAgreed(needs.message);
  // A question that only the user may answer may have changed since: then the answers belong to another question.
  if (!isUserOnly && isAnswered(again.needsInput, needs.fields)) throw missingInput(again.needsInput);
  return again;
}

function asJob(
  { tool, facts, parts, home, given }: ToolCall,
  { caller, orchestrator: { jobs } }: Context,
  operation: Operation<unknown>,
  answer: Promise<Answer>,
): CallResult {
  const shown = textFor(parts, home, given);
  const job = jobs.adopt(caller, {
    tool: tool.name,
    operation,
    outcome: answer.then((each) => finalData(each)),
    errorText: (error) => shown(errorText(error, tool.name, parts.log)),
  });
  // The SDK requires `content` in every answer to a call.
  return facts.takesTasks ? { resultType: "task", ...taskOf(job, jobs.keepHours), content: [] } : jobAnswer(job);
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

/** Suggested to clients; polling is cheap. */
const pollIntervalMs = 2000;

/** A job in the form of the tasks extension, without its result. */
export function taskOf(job: Job, keepHours: number) {
  const { endedAt, progress } = job;
  const aliveMs = endedAt === undefined ? undefined : Date.parse(endedAt) - Date.parse(job.startedAt);
  return {
    taskId: job.id,
    status: { running: "working", succeeded: "completed", failed: "completed", cancelled: "cancelled" }[job.state],
    statusMessage: progress === undefined ? job.title : progressText(progress),
    createdAt: job.startedAt,
    lastUpdatedAt: endedAt ?? new Date().toISOString(),
    // Counted from the start; jobs are kept from their end on, which isn't known while they run.
    ttlMs: aliveMs === undefined ? null : Math.max(1, Math.round(aliveMs + keepHours * 3_600_000)),
    pollIntervalMs,
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
 * Claude Code restarts its idle timer at every progress notification; `ollm` is our own shell, and
 * `ollm-dashboard` our page.
 */
const patientClients: readonly string[] = ["claude-code", "ollm", "ollm-dashboard"];

/**
 * Milliseconds after which a call of `client` is detached and answered with a job; undefined: no limit. A client that
 * requests no progress gets the limit, even a patient one. `seconds` are those of `jobs.patience`.
 */
export function patienceMs(client: string, hasProgressToken: boolean, seconds: number): number | undefined {
  return hasProgressToken && patientClients.includes(client) ? undefined : seconds * 1000;
}

/**
 * Copilot CLI, Cline and Qwen Code, which give their model both forms of an answer (docs/assistants.md): they get the
 * structured one alone.
 */
const takesBoth = /^(?:copilot-cli|@cline\/core|qwen-cli-mcp-client)/;

/** A tool's data as an answer, as text and structured; `data` matches the tool's output. */
export function resultOf(
  tool: ToolDefinition,
  data: Record<string, unknown>,
  facts: Pick<Call, "client" | "wantsDetails" | "showsViews">,
): CallToolResult {
  const rendered = tool.render(data);
  const texts = takesBoth.test(facts.client) ? [] : [rendered].flat();
  const content: CallToolResult["content"] = texts.map((text) => ({ type: "text" as const, text }));
  const { result = data } = data as { readonly result?: Data };
  const { results: uri } = result;
  if (typeof uri === "string") content.push({ type: "resource_link", uri, name: uri, mimeType: "application/jsonl" });
  if (tool.lean === undefined || facts.wantsDetails) return { content, structuredContent: data };
  const details = tool.view !== undefined && facts.showsViews ? { _meta: { [detailsKey]: data } } : undefined;
  return { content, structuredContent: tool.lean(data), ...details };
}

/**
 * The files that a request may name: those inside its caller's roots, which are determined with the first name. `signal`
 * ends git.
 */
export function filesOfCaller(
  { clientRoots, signal }: Pick<Call, "clientRoots" | "signal">,
  parts: Caller,
  home: View,
): ToolFiles {
  return createFiles({
    roots: async () => {
      const offered = parts.mayOfferRoots ? foldersOfUris(await rootsOf(parts, clientRoots)) : [];
      return allowedRoots(parts, home.fileRoots, offered, parts.log);
    },
    limits: home.orchestrator.fileLimits,
    configFile: home.configFile,
    ...defined({ startedIn: parts.workingDirectory }),
    git: { environment: process.env, homeDirectory: parts.homeDirectory, signal },
    isConfined: !parts.mayOfferRoots,
  });
}

/**
 * A tool run that its call, whose signal is given, may detach from, so that the run continues as a background job: when `afterMs` have passed
 * (undefined: never) and it waits for an operation, or when the client disconnects during a pull, which continues
 * regardless. Any other end of the call ends the run.
 */
export function detachableRun(call: AbortSignal, afterMs: number | undefined, timers: Timers) {
  const own = new AbortController();
  let current: Operation<unknown> | undefined;
  let isOverdue = false;
  let detached: Operation<unknown> | undefined;
  let onDetached: ((operation: Operation<unknown>) => void) | undefined;
  const detach = (operation: Operation<unknown>): void => {
    detached = operation;
    call.removeEventListener("abort", onAbort);
    onDetached?.(operation);
  };
  const onAbort = (): void => {
    const end = callEnd(call);
    if (end === "disconnected" && current?.kind === "pull") detach(current);
    else own.abort(end);
  };
  const stopClock =
    afterMs === undefined
      ? undefined
      : timers.after(afterMs, () => {
          isOverdue = true;
          if (current !== undefined && !own.signal.aborted) detach(current);
        });
  call.addEventListener("abort", onAbort, { once: true });
  if (call.aborted) onAbort();
  return {
    /** The run's own: aborts, with a `CallEnd`, with the call while attached, and never once detached. */
    signal: own.signal,
    /** The run waits for this operation now. */
    followed: (operation: Operation<unknown>, isJob = isOverdue): void => {
      current = operation;
      if (detached !== undefined) operation.detach();
      else if (isJob) detach(operation);
    },
    /** Resolves with the answer, or with the operation to adopt as a job when the run is detached before. */
    ended: <Given>(
      answer: Promise<Given>,
    ): Promise<{ readonly answer: Given } | { readonly detached: Operation<unknown> }> =>
      new Promise((resolve, reject) => {
        onDetached = (operation) => resolve({ detached: operation });
        if (detached !== undefined) onDetached(detached);
        answer.then((given) => resolve({ answer: given }), reject);
      }),
    /** The call is answered: stops the clock. */
    end: (): void => {
      stopClock?.();
      if (detached === undefined) call.removeEventListener("abort", onAbort);
    },
  };
}

/** Whether this call may ask about a project that waits for approval. */
function mayAskAboutProject(tool: ToolDefinition, facts: Call, { askedProjects }: Caller): boolean {
  return tool.usesProject === true && askedProjects !== undefined && facts.canAsk && !isShell(facts.client);
}
