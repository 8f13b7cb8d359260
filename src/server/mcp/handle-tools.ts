import type {
  CallToolResult,
  InputRequiredResult,
  ListToolsResult,
  Server,
  ServerContext,
} from "@modelcontextprotocol/server";
import { OrchestratorError } from "../../orchestrator/api/errors.ts";
import { tools } from "../../tools/index.ts";
import { callFacts, requestFacts, type RequestFacts } from "./call-facts.ts";
import { homeOf, type ServerParts } from "../daemon/server-parts.ts";
import { isShell, noSuchTool, offeredTools, defaultTools } from "./offered-tools.ts";
import { pageOf } from "./pagination.ts";
import { callTool } from "./pipeline.ts";
import { toolEntry } from "./tool-list.ts";
import type { ToolWatch } from "./tool-watch.ts";

/** `tools/list`: the tools offered to this caller. With unreadable settings: the default tools, whose calls report what is wrong. */
export async function listTools(
  server: Server,
  context: ServerContext,
  parts: ServerParts,
  cursor?: string,
  watch?: ToolWatch<RequestFacts>,
): Promise<ListToolsResult> {
  const facts = requestFacts(server, context);
  const names = await offeredNames(parts, facts);
  watch?.listed(names, facts);
  const offered = tools.filter(({ name }) => names.includes(name));
  const { entries, ...next } = pageOf("tools", offered, cursor);
  return { tools: entries.map(toolEntry), ...next };
}

/** Names of the offered tools, in their order. */
export async function offeredNames(
  parts: ServerParts,
  facts: Pick<RequestFacts, "client" | "clientRoots">,
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
  server: Server,
  context: ServerContext,
  params: { readonly name: string; readonly arguments?: unknown },
  parts: ServerParts,
): Promise<CallToolResult | InputRequiredResult> {
  const tool = tools.find(({ name }) => name === params.name);
  if (tool === undefined) {
    throw noSuchTool(params.name, await offeredNames(parts, requestFacts(server, context)));
  }
  return callTool(tool, callFacts(server, context, params.arguments), parts);
}
