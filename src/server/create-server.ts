import {
  CLIENT_CAPABILITIES_META_KEY,
  CLIENT_INFO_META_KEY,
  ProtocolError,
  ProtocolErrorCode,
  SdkError,
  SdkErrorCode,
  Server,
  type ClientCapabilities,
  type Implementation,
  type ServerContext,
  type Tool,
} from "@modelcontextprotocol/server";
import type { ServerHost } from "./host.ts";
import { instructions } from "./instructions.ts";
import { nearestNames } from "../orchestrator/text/nearest.ts";
import { callSignal, callTool, type CallFacts } from "./pipeline.ts";
import { handleResources } from "./resource-handlers.ts";
import { foldersOfUris } from "./roots.ts";

/** A client that does not answer `roots/list` must not hold up a call. */
const rootsTimeoutMs = 2_000;
const listTtlMs = 300_000;

/**
 * One MCP server for one connection, of either protocol era. Cheap: tools, resources and the brain itself are loaded
 * by the first request that needs them, because hosts wait for `initialize`.
 */
export function createServer(host: ServerHost): Server {
  const hint = { ttlMs: listTtlMs, cacheScope: "private" } as const;
  const server = new Server(
    { name: "ollm-mcp", title: "ollm: local language models", version: host.version },
    {
      instructions,
      capabilities: { tools: {}, resources: {} },
      cacheHints: { "tools/list": hint, "server/discover": hint, "resources/templates/list": hint },
    },
  );
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the SDK has no other way.
  server.onerror = (error) => host.log.debug(`protocol: ${error.message}`);
  const loadTools = async () => (await import("../tools/index.ts")).tools;

  let entries: Promise<Tool[]> | undefined;
  server.setRequestHandler("tools/list", async () => {
    entries ??= Promise.all([loadTools(), import("./tool-list.ts")]).then(([tools, { toolEntry }]) =>
      tools.map(toolEntry),
    );
    return { tools: await entries };
  });

  server.setRequestHandler("tools/call", async ({ params }, context) => {
    const tools = await loadTools();
    const tool = tools.find(({ name }) => name === params.name);
    if (tool === undefined) {
      const names = tools.map(({ name }) => name);
      const [close] = nearestNames(params.name, names, 1);
      const advice = close === undefined ? `tools: ${names.join(", ")}` : `did you mean "${close}"?`;
      throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown tool "${params.name}", ${advice}`);
    }
    return callTool(tool, callFacts(server, context, params.arguments), host);
  });

  handleResources(server, host, (context) => baseFacts(server, context));
  return server;
}

/** Who calls, and how the call may end. */
function baseFacts(server: Server, context: ServerContext): { readonly client: string; readonly signal: AbortSignal } {
  const isDisconnect = (reason: unknown): boolean =>
    reason instanceof SdkError && reason.code === SdkErrorCode.ConnectionClosed;
  return {
    client: claimsOf(context)?.clientInfo?.name ?? server.getClientVersion()?.name ?? "unknown",
    signal: callSignal(context.mcpReq.signal, isDisconnect),
  };
}

/** What a request of the modern era says of its client; undefined in the legacy era, which said it once. */
function claimsOf(
  context: ServerContext,
):
  | { readonly clientInfo?: Implementation | undefined; readonly capabilities?: ClientCapabilities | undefined }
  | undefined {
  // The SDK's type leaves out the keys that it has checked.
  const envelope:
    | { [CLIENT_INFO_META_KEY]?: Implementation; [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities }
    | undefined = context.mcpReq.envelope;
  return (
    envelope && {
      clientInfo: envelope[CLIENT_INFO_META_KEY],
      capabilities: envelope[CLIENT_CAPABILITIES_META_KEY],
    }
  );
}

function callFacts(server: Server, context: ServerContext, given: unknown): CallFacts {
  const { inputResponses, _meta } = context.mcpReq;
  const claims = claimsOf(context);
  const capabilities = claims === undefined ? server.getClientCapabilities() : claims.capabilities;
  const token = _meta?.progressToken;
  return {
    ...baseFacts(server, context),
    arguments: given,
    canAsk: canShowForms(capabilities),
    ...(inputResponses !== undefined && { inputResponses }),
    ...(token !== undefined && {
      notifyProgress(note) {
        const sent = context.mcpReq.notify({
          method: "notifications/progress",
          params: { ...note, progressToken: token },
        });
        // The connection is gone: its close ends the call, and progress has nobody to reach.
        sent.catch(() => undefined);
      },
    }),
    async clientRoots() {
      // The modern era asks for roots by another way, and deprecates them: there the working directory must do.
      if (claims !== undefined || capabilities?.roots === undefined) return [];
      const { roots } = await server.listRoots(undefined, { timeout: rootsTimeoutMs, signal: context.mcpReq.signal });
      return foldersOfUris(roots.map(({ uri }) => uri));
    },
  };
}

/** An empty elicitation capability means forms: it is older than the distinction. */
function canShowForms(capabilities: ClientCapabilities | undefined): boolean {
  const elicitation = capabilities?.elicitation;
  return elicitation !== undefined && (elicitation.form !== undefined || elicitation.url === undefined);
}
