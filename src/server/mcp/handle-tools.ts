import {
  type CallToolResult,
  type InputRequiredResult,
  type ListToolsResult,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  ProtocolErrorCode,
  type Result,
  type Tool,
  type ToolAnnotations,
} from "@modelcontextprotocol/server";
import * as z from "zod";
import { OrchestratorError, UnknownJob } from "../../orchestrator/api/errors.ts";
import type { Job } from "../../orchestrator/api/facade.ts";
import { type ToolDefinition, isRepeatable } from "../../tools/definition.ts";
import { tools } from "../../tools/index.ts";
import { routeAndGenerate } from "../../tools/route-and-generate.ts";
import { type Caller, homeOf } from "../call/caller.ts";
import { type Call, tasksExtension } from "../call/call.ts";
import { icon, pageOf } from "./create-server.ts";
import { isShell } from "../../orchestrator/api/types.ts";
import { callerContext, defaultTools, noSuchTool, offeredTools } from "../call/offered-tools.ts";
import { callTool, noteRead, resultOf, taskOf } from "../call/pipeline.ts";
import { getOrInsert } from "../../orchestrator/util/values.ts";

/** `tools/list`: the tools offered to this caller. With unreadable settings: the default tools, whose calls report what is wrong. */
export async function listTools(
  facts: Call,
  parts: Caller,
  cursor?: string,
  onListed?: (names: readonly string[], facts: Call) => void,
): Promise<ListToolsResult> {
  const names = await offeredNames(parts, facts);
  onListed?.(names, facts);
  const offered = tools.filter(({ name }) => names.includes(name));
  const { entries, ...next } = pageOf("tools", offered, cursor);
  const { showsViews } = facts;
  return { tools: entries.map((tool) => (showsViews ? entryWithView(tool) : keptEntry(tool))), ...next };
}

/** The entry for a client of MCP Apps. Others don't get the view, which every conversation would pay for. */
function entryWithView(tool: ToolDefinition): Tool {
  const { view } = tool;
  const entry = keptEntry(tool);
  return view === undefined ? entry : { ...entry, _meta: { ...entry._meta, ui: { resourceUri: view } } };
}

/** Kept, because making the schemas of all tools takes milliseconds. */
const keptEntries = new Map<ToolDefinition, Tool>();

function keptEntry(tool: ToolDefinition): Tool {
  return getOrInsert(keptEntries, tool, () => toolEntry(tool));
}

/** Names of the offered tools, in their order. */
export async function offeredNames(
  parts: Caller,
  facts: Pick<Call, "client" | "clientRoots">,
): Promise<readonly string[]> {
  if (isShell(facts.client)) return tools.map(({ name }) => name);
  try {
    return offeredTools(await homeOf(parts, facts)).names;
  } catch (error) {
    if (!(error instanceof OrchestratorError)) throw error;
    return defaultTools().names;
  }
}

/** `tools/call`. Throws a `ProtocolError` for a tool that does not exist or is not offered; other failures are results. */
export async function handleCall(
  facts: Call,
  parts: Caller,
  params: { readonly name: string; readonly arguments?: unknown },
): Promise<CallToolResult | InputRequiredResult> {
  const tool = tools.find(({ name }) => name === params.name);
  if (tool === undefined) throw noSuchTool(params.name, await offeredNames(parts, facts));
  return callTool(tool, params.arguments, facts, parts);
}

/**
 * `tasks/get`, `tasks/update`, `tasks/cancel`. A failed tool is a completed task whose result has `isError`, as the call's
 * own answer would. No task asks for input, so an update is acknowledged and changes nothing.
 */
export async function handleTask(
  facts: Call,
  parts: Caller,
  method: "get" | "update" | "cancel",
  id: unknown,
): Promise<Result> {
  if (typeof id !== "string") throw new ProtocolError(ProtocolErrorCode.InvalidParams, "taskId must be a string");
  if (!facts.isModern) throw new ProtocolError(ProtocolErrorCode.MethodNotFound, "Method not found");
  if (!facts.takesTasks) {
    throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { extensions: { [tasksExtension]: {} } } });
  }
  const home = await parts.open();
  const { jobs } = home.orchestrator;
  const caller = callerContext(facts, parts, home);
  try {
    const job = await (method === "cancel" ? jobs.cancel(caller, id) : jobs.get(caller, id));
    if (method !== "get") return {};
    const { result } = endOf(job, facts);
    if (result?.structuredContent) noteRead(home, caller, job.tool, job.result as object, result);
    return { ...taskOf(job, jobs.keepHours), ...(result && { result }) };
  } catch (error) {
    if (error instanceof UnknownJob) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `No task ${id}`);
    throw error;
  }
}

function endOf(job: Job, facts: Call): { readonly result?: CallToolResult } {
  if (job.state === "failed") {
    return { result: { content: [{ type: "text", text: job.error ?? "failed" }], isError: true } };
  }
  if (job.state !== "succeeded") return {};
  const tool = tools.find(({ name }) => name === job.tool);
  const parsed = tool?.output.safeParse(job.result);
  if (tool !== undefined && parsed?.success === true) return { result: resultOf(tool, parsed.data, facts) };
  const text = job.note ?? "the result is no longer known";
  return { result: { content: [{ type: "text", text }], isError: true } };
}

const icons = {
  read: icon("M4 12a8 8 0 1016 0 8 8 0 10-16 0M12 11v6M12 7v1"),
  write: icon("M6 4l14 8-14 8z"),
  destroy: icon("M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13"),
};

/** A tool in `tools/list`. Schemas are trimmed, since every client pays for them in every conversation. */
export function toolEntry(tool: ToolDefinition): Tool {
  return {
    name: tool.name,
    title: tool.title,
    description: tool.description,
    inputSchema: jsonSchema(tool.input),
    outputSchema: jsonSchema(publishedOutput(tool), tool.lean !== undefined),
    annotations: hintsOf(tool),
    icons: [icons[tool.effect]],
    // Claude Code gives its model the others when it searches for them (docs/decisions/0082-one-tool-in-sight.md).
    ...(tool === routeAndGenerate && { _meta: { "anthropic/alwaysLoad": true } }),
  };
}

function publishedOutput({ output, canBecomeJob }: ToolDefinition): z.ZodObject {
  if (canBecomeJob !== true) return output;
  return output.partial().extend({
    job: z.string().optional().describe("Background job."),
    next: z.string().optional(),
  });
}

/** `isLean`: any field may be left out. */
function jsonSchema(schema: z.ZodObject, isLean = false): Tool["inputSchema"] {
  const { $schema: _dialect, ...document } = z.toJSONSchema(schema, {
    // For outputs, too: `output` would forbid fields that a later version adds.
    io: "input",
    override({ jsonSchema: node }) {
      if (node.maximum === Number.MAX_SAFE_INTEGER) delete node.maximum;
      if (node.minimum === Number.MIN_SAFE_INTEGER) delete node.minimum;
      // Still validated: that a text is not empty, a count is not 0, a share is not negative and a list has an end is obvious.
      if (node.minLength === 1) delete node.minLength;
      if (node.minimum === 0 || node.minimum === 1) delete node.minimum;
      if (node.exclusiveMinimum === 0) delete node.exclusiveMinimum;
      // A constant says its type.
      if (node.const !== undefined) delete node.type;
      delete node.maxItems;
      if (isLean) delete node.required;
      delete node.propertyNames;
      // The default for objects.
      if (JSON.stringify(node.additionalProperties) === "{}") delete node.additionalProperties;
    },
  });
  // The SDK's type requires plain JSON values, which a schema document is.
  return { ...document, type: "object" } as Tool["inputSchema"];
}

/**
 * The MCP hints of a tool, derived in one place so that they can't contradict each other. Left out, because every
 * conversation pays for them: the title, which the tool has already, and `idempotentHint` where it has its default or,
 * for a tool that only reads, no meaning.
 */
export function hintsOf(tool: ToolDefinition): Omit<ToolAnnotations, "title"> {
  const isRead = tool.effect === "read";
  return {
    readOnlyHint: isRead,
    destructiveHint: tool.effect === "destroy",
    ...(isRepeatable(tool) && !isRead && { idempotentHint: true }),
    openWorldHint: tool.isOpenWorld === true,
  };
}
