import type { Transport } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { createServer } from "../mcp/create-server.ts";
import type { ServerParts } from "./server-parts.ts";
import { createListenStreams } from "../mcp/listen-streams.ts";

/** Serves one lasting connection (stdio, the daemon's socket) in the protocol era of its client. */
export function serveConnection(parts: ServerParts, transport: Transport): { close(): Promise<void> } {
  const listenStreams = createListenStreams();
  return serveStdio(() => createServer(parts, listenStreams), {
    transport: listenStreams.tap(transport),
    onerror: (error) => parts.log.debug(`protocol: ${error.message}`),
  });
}
