import { Server } from "@modelcontextprotocol/server";
import type { ServerHost } from "./host.ts";
import { instructions } from "./instructions.ts";

/** Lists are fixed for a version of the server; this bounds how long a client trusts them over an update. */
const listTtlMs = 300_000;

/**
 * One MCP server for one connection, of either protocol era. Hosts wait for `initialize`, so it imports what that
 * needs and nothing else: tools, resources and the brain itself are loaded by the first request for them.
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

  const calls = once(() => import("./handle-tools.ts"));
  server.setRequestHandler("tools/list", async () => (await calls()).listTools());
  server.setRequestHandler("tools/call", async ({ params }, context) =>
    (await calls()).handleCall(server, context, params, host),
  );

  const reads = once(() => import("./handle-resources.ts"));
  server.setRequestHandler("resources/list", async (_request, context) =>
    (await reads()).listResources(server, context, host),
  );
  server.setRequestHandler("resources/templates/list", async () => (await reads()).listTemplates());
  server.setRequestHandler("resources/read", async ({ params }, context) =>
    (await reads()).readResource(server, context, params.uri, host),
  );
  return server;
}

/** Keeps what was made first: an import that is asked for again is resolved again, and every call would pay for it. */
function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined;
  return () => (made ??= { value: make() }).value;
}
