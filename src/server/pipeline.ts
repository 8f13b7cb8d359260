import type { CallToolResult, InputRequiredResult } from "@modelcontextprotocol/server";
import { InvalidRequest } from "../orchestrator/errors.ts";
import type { ToolAnswer, ToolContext, ToolDefinition } from "../tools/definition.ts";
import { answersTo, missingInput, question, type NeedsInput } from "./ask-user.ts";
import type { CallFacts } from "./call-facts.ts";
import { errorText } from "./error-text.ts";
import { createFiles } from "./files.ts";
import { callerContext, type OpenHome, type ServerHost } from "./host.ts";
import { createProgressReporter } from "./progress.ts";
import { allowedRoots, foldersOfUris } from "./roots.ts";
import { validateInput } from "./validate-input.ts";

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
      roots: async () => {
        const offered = host.caller.mayOfferRoots ? foldersOfUris(await facts.clientRoots()) : [];
        return allowedRoots(host.caller, home.fileRoots, offered, host.log);
      },
      limits: home.orchestrator.fileLimits,
      configFile: home.configFile,
    }),
    follow: (operation) => operation.follow(caller.signal, progress && ((step) => progress.report(step))),
  };
}

function resultOf(tool: ToolDefinition, data: Record<string, unknown>): CallToolResult {
  const rendered = tool.render(data);
  const texts = typeof rendered === "string" ? [rendered] : rendered;
  return { content: texts.map((text) => ({ type: "text" as const, text })), structuredContent: data };
}
