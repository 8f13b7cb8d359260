import type { Readable, Writable } from "node:stream";
import {
  CLIENT_INFO_META_KEY,
  type JSONRPCMessage,
  type RequestId,
  type Transport,
} from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Farewell } from "../../ipc/protocol.ts";
import { createServer } from "../mcp/create-server.ts";
import { createListenStreams } from "../mcp/listen-streams.ts";
import { type StdioTransport, createStdioTransport } from "../mcp/stdio-transport.ts";
import type { ServerParts } from "./server-parts.ts";

/** One MCP client on a pair of streams. */
export interface ServedClient {
  /** As it introduced itself; undefined before that. */
  name(): string | undefined;
  /** Ids of requests without an answer; open listen streams don't count. */
  unanswered(): readonly RequestId[];
  /** Stops reading for good: input stays with its sender. */
  pause(): void;
  /** Writes a farewell between messages, for fronts. Resolves when it is written, or can't be. */
  say(farewell: Farewell): Promise<void>;
  /** Ends running calls as when their client disconnects. */
  close(): Promise<void>;
}

/**
 * Serves MCP until either side ends; `onEnd` is called once. `areScriptsAnswered` is that of the stdio transport; a front
 * keeps its connection as long as its client waits.
 */
export function serveClient(
  streams: { readonly input: Readable; readonly output: Writable },
  parts: ServerParts,
  onEnd: () => void,
  { areScriptsAnswered = false } = {},
): ServedClient {
  const { input, output } = streams;
  const inner: StdioTransport = createStdioTransport(input, output, {
    areScriptsAnswered,
    onEnd,
    onLost: (message) => parts.log.warn(message),
  });
  const watched = watchRequests(inner);
  const connection = serveConnection(parts, watched.transport);
  return {
    name: watched.clientName,
    unanswered: watched.unanswered,
    pause: () => inner.stopReading(),
    say: (farewell) =>
      new Promise((resolve) => {
        if (output.destroyed || output.writableEnded) return resolve();
        output.write(`${JSON.stringify(farewell)}\n`, () => resolve());
      }),
    close: () => connection.close(),
  };
}

interface WatchedTransport {
  readonly transport: Transport;
  unanswered(): readonly RequestId[];
  clientName(): string | undefined;
}

/** Wraps the transport to learn the client's name and which of its requests have no answer yet. */
function watchRequests(inner: Transport): WatchedTransport {
  const open = new Set<RequestId>();
  let name: string | undefined;

  function note(message: JSONRPCMessage): void {
    if (!("method" in message)) return;
    const { method, params } = message;
    // Listen streams stay open.
    if ("id" in message && method !== "subscriptions/listen") open.add(message.id);
    if (method === "notifications/cancelled") open.delete(params?.["requestId"] as RequestId);
    // Legacy clients send it once, modern ones with each request.
    if (method === "initialize") name = nameIn(params?.["clientInfo"]) ?? name;
    else name ??= nameIn(params?._meta?.[CLIENT_INFO_META_KEY]);
  }

  const transport: Transport = {
    start() {
      // oxlint-disable unicorn/prefer-add-event-listener -- the SDK's transports have no other way.
      inner.onmessage = (message, extra) => {
        note(message);
        transport.onmessage?.(message, extra);
      };
      inner.onclose = () => transport.onclose?.();
      inner.onerror = (error) => transport.onerror?.(error);
      // oxlint-enable unicorn/prefer-add-event-listener
      return inner.start();
    },
    send(message, options) {
      if ("method" in message || message.id === undefined) return inner.send(message, options);
      const { id } = message;
      return inner.send(message, options).finally(() => open.delete(id));
    },
    close: () => inner.close(),
  };
  return { transport, unanswered: () => [...open], clientName: () => name };
}

function nameIn(value: unknown): string | undefined {
  const given: unknown = typeof value === "object" && value !== null && "name" in value ? value.name : undefined;
  return typeof given === "string" ? given : undefined;
}

/** Serves one lasting connection (stdio, the daemon's socket) in the protocol era of its client. */
export function serveConnection(parts: ServerParts, transport: Transport): { close(): Promise<void> } {
  const listenStreams = createListenStreams();
  return serveStdio(() => createServer(parts, listenStreams), {
    transport: listenStreams.tap(transport),
    onerror: (error) => parts.log.debug(`protocol: ${error.message}`),
  });
}
