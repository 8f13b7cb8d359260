import {
  ProtocolError,
  ProtocolErrorCode,
  type CallToolResult,
  type InputRequiredResult,
  type ListToolsResult,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { nearestNames } from "../orchestrator/text/nearest.ts";
import { tools } from "../tools/index.ts";
import { callFacts } from "./call-facts.ts";
import type { ServerHost } from "./host.ts";
import { pageOf } from "./pagination.ts";
import { callTool } from "./pipeline.ts";
import { toolEntry } from "./tool-list.ts";

/** `tools/list`. */
export function listTools(cursor?: string): ListToolsResult {
  const { entries, ...next } = pageOf("tools", tools, cursor);
  return { tools: entries.map(toolEntry), ...next };
}

/** `tools/call`. Throws a `ProtocolError` for a tool that does not exist; every other failure is a result. */
export async function handleCall(
  server: Server,
  context: ServerContext,
  params: { readonly name: string; readonly arguments?: unknown },
  host: ServerHost,
): Promise<CallToolResult | InputRequiredResult> {
  const tool = tools.find(({ name }) => name === params.name);
  if (tool === undefined) {
    const names = tools.map(({ name }) => name);
    const [close] = nearestNames(params.name, names, 1);
    const advice = close === undefined ? `tools: ${names.join(", ")}` : `did you mean "${close}"?`;
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown tool "${params.name}", ${advice}`);
  }
  return callTool(tool, callFacts(server, context, params.arguments), host);
}
