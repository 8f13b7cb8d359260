import type { CallToolResult, InputRequiredResult } from "@modelcontextprotocol/server";
import { InvalidRequest } from "../orchestrator/errors.ts";
import type { CallEnd, CallerContext } from "../orchestrator/types.ts";
import type { ToolAnswer, ToolContext, ToolDefinition } from "../tools/definition.ts";
import { answersTo, missingInput, question, type NeedsInput } from "./ask-user.ts";
import { errorText } from "./error-text.ts";
import { createFiles } from "./files.ts";
import type { OpenHome, ServerHost } from "./host.ts";
import { createProgressReporter, type ProgressNote } from "./progress.ts";
import { allowedRoots } from "./roots.ts";
import { validateInput } from "./validate-input.ts";

/** What a call brings along from its connection; all that the pipeline knows of the protocol. */
export interface CallFacts {
  readonly arguments: unknown;
  /** As the client introduced itself, or `unknown`. */
  readonly client: string;
  /** Aborted with a `CallEnd` as its reason. */
  readonly signal: AbortSignal;
  /** Absent when the client did not ask for progress. */
  readonly notifyProgress?: (note: ProgressNote) => void;
  /** The client can put a form before its user. */
  readonly canAsk: boolean;
  /** Answers of a retried request, untrusted. */
  readonly inputResponses?: Readonly<Record<string, unknown>>;
  /** Folders of the client's roots; none when it offers none. */
  clientRoots(): Promise<readonly string[]>;
}

/** One call of one tool, from raw arguments to an MCP result. Never throws: a failure is a result with `isError`. */
export async function callTool(
  tool: ToolDefinition,
  facts: CallFacts,
  host: ServerHost,
): Promise<CallToolResult | InputRequiredResult> {
  const { notifyProgress } = facts;
  const progress = notifyProgress && createProgressReporter(notifyProgress, tool.title);
  try {
    const input = validateInput(tool, facts.arguments);
    const home = await host.open();
    const context = createContext(facts, host, home, progress);
    const first = await tool.run(input, context);
    if (!("needsInput" in first)) return resultOf(tool, first.data);
    const second = await runWithAnswers(tool, input, first.needsInput, facts, context);
    return "needsInput" in second ? question(second.needsInput) : resultOf(tool, second.data);
  } catch (error) {
    return { content: [{ type: "text", text: errorText(error, tool.name, host.log) }], isError: true };
  } finally {
    progress?.stop();
  }
}

/** The second half of a call that has to ask: the tool runs again with what the user answered, else it asks. */
async function runWithAnswers(
  tool: ToolDefinition,
  input: Readonly<Record<string, unknown>>,
  needs: NeedsInput,
  facts: CallFacts,
  context: ToolContext,
): Promise<ToolAnswer<Record<string, unknown>>> {
  if (!facts.canAsk) throw missingInput(tool.name, needs);
  const answers = answersTo(needs, facts.inputResponses);
  if (answers === undefined) return { needsInput: needs };
  // Only the answers are new, but they are parsed as strictly as the arguments were.
  const parsed = validateInput(tool, { ...rawObject(facts.arguments), ...answers });
  const again = await tool.run(parsed, context);
  if ("needsInput" in again && Object.keys(again.needsInput.fields).every((name) => name in answers)) {
    // Asking the same once more would go in circles: the answer was no.
    throw new InvalidRequest(`The user did not agree: ${needs.message}`, { hint: "Nothing was changed." });
  }
  return again;
}

function rawObject(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}

function createContext(
  facts: CallFacts,
  host: ServerHost,
  home: OpenHome,
  progress: ReturnType<typeof createProgressReporter> | undefined,
): ToolContext {
  const caller = callerContext(facts, host, home);
  return {
    orchestrator: home.orchestrator,
    caller,
    files: createFiles({
      roots: async () => allowedRoots(host.caller, home.fileRoots, await facts.clientRoots(), host.log),
      limits: home.orchestrator.fileLimits,
      configFile: home.configFile,
    }),
    follow: (operation) => operation.follow(caller.signal, progress && ((step) => progress.report(step))),
  };
}

/** The caller as the orchestrator sees it; also for resources. */
export function callerContext(
  { client, signal }: { readonly client: string; readonly signal: AbortSignal },
  host: ServerHost,
  home: OpenHome,
): CallerContext {
  return {
    id: host.caller.id,
    client,
    roots: home.fileRoots,
    settings: home.callerSettings,
    signal,
  };
}

/** A signal that says how the call ended, in the facade's words. */
export function callSignal(signal: AbortSignal, isDisconnect: (reason: unknown) => boolean): AbortSignal {
  const controller = new AbortController();
  const end = (): void => {
    const reason: CallEnd = isDisconnect(signal.reason) ? "disconnected" : "cancelled";
    controller.abort(reason);
  };
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  return controller.signal;
}

function resultOf(tool: ToolDefinition, data: Record<string, unknown>): CallToolResult {
  const rendered = tool.render(data);
  const texts = typeof rendered === "string" ? [rendered] : rendered;
  return { content: texts.map((text) => ({ type: "text" as const, text })), structuredContent: data };
}
