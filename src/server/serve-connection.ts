import type { Transport } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { createServer } from "./create-server.ts";
import type { ServerHost } from "./host.ts";
import { createListens } from "./listens.ts";

/** Serves one lasting connection (stdio, the owner's socket) in whichever era its client speaks. */
export function serveConnection(host: ServerHost, transport: Transport): { close(): Promise<void> } {
  const listens = createListens();
  return serveStdio(() => createServer(host, listens), {
    transport: listens.tap(transport),
    onerror: (error) => host.log.debug(`protocol: ${error.message}`),
  });
}
