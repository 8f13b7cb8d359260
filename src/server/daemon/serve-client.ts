import type { Readable, Writable } from "node:stream";
import type { Transport } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Farewell } from "../../ipc/protocol.ts";
import { createServer } from "../mcp/create-server.ts";
import { createListenStreams } from "../mcp/change-feed.ts";
import { StdioTransport } from "../mcp/stdio-transport.ts";
import type { Caller } from "../call/caller.ts";

/**
 * One MCP client on a pair of streams: serves MCP until either side ends; `onEnd` is called once. `areScriptsAnswered` is that of the stdio transport; a front
 * keeps its connection as long as its client waits.
 */
export function serveClient(
  streams: { readonly input: Readable; readonly output: Writable },
  parts: Caller,
  onEnd: () => void,
  { areScriptsAnswered = false } = {},
) {
  const { input, output } = streams;
  const transport = new StdioTransport(input, output, {
    areScriptsAnswered,
    onEnd,
    onLost: (message) => parts.log.warn(message),
  });
  const connection = serveConnection(parts, transport);
  return {
    /** As it introduced itself; undefined before that. */
    name: () => transport.clientName(),
    /** Ids of requests without an answer; open listen streams don't count. */
    unanswered: () => transport.unanswered(),
    /** Stops reading for good: input stays with its sender. */
    pause: () => transport.stopReading(),
    /** Writes a farewell between messages, for fronts. Resolves when it is written, or can't be. */
    say: (farewell: Farewell) =>
      new Promise<void>((resolve) => {
        if (output.destroyed || output.writableEnded) return resolve();
        output.write(`${JSON.stringify(farewell)}\n`, () => resolve());
      }),
    /** Ends running calls as when their client disconnects. */
    close: () => connection.close(),
  };
}

/** Serves one lasting connection (stdio, the daemon's socket) in the protocol era of its client. */
export function serveConnection(parts: Caller, transport: Transport): { close(): Promise<void> } {
  const listenStreams = createListenStreams();
  return serveStdio(() => createServer(parts, listenStreams), {
    transport: listenStreams.tap(transport),
    onerror: (error) => parts.log.debug(`protocol: ${error.message}`),
  });
}
