import {
  deserializeMessage,
  serializeMessage,
  type JSONRPCMessage,
  type RequestId,
  type Transport,
} from "@modelcontextprotocol/server";
import type { Readable, Writable } from "node:stream";
import { createLineSplitter, defaultMaxLineBytes, idInEdge, oversizedText } from "../ipc/lines.ts";

export interface StdioOptions {
  /** Longer messages are refused, and never held in memory. */
  readonly maxLineBytes?: number;
  /** How long requests that are under way may still be answered when the client closes its end. */
  readonly drainMs?: number;
  /** The connection has ended, from either side. Called once. */
  readonly onEnd?: () => void;
}

/** Enough for the answers to a script that pipes its requests in and closes; far below the 2 s in which we must end. */
const defaultDrainMs = 500;

/**
 * MCP over a pair of streams, one JSON message a line. In place of the SDK's own: that one closes the connection over
 * a long line, leaves a malformed request without an answer, and drops what is under way when input ends.
 */
export function createStdioTransport(input: Readable, output: Writable, options: StdioOptions = {}): Transport {
  const { maxLineBytes = defaultMaxLineBytes, drainMs = defaultDrainMs, onEnd } = options;
  const pending = new Set<RequestId>();
  let isClosed = false;
  let drainTimer: NodeJS.Timeout | undefined;

  const lines = createLineSplitter({
    maxLineBytes,
    onLine: receive,
    onOversized: ({ bytes, head, tail }) =>
      refuse(idInEdge(head) ?? idInEdge(tail), -32600, oversizedText(bytes, maxLineBytes)),
  });

  const transport: Transport = {
    start() {
      input.on("data", lines.push);
      input.on("end", onInputEnd);
      input.on("close", onInputEnd);
      input.on("error", fail);
      output.on("error", fail);
      return Promise.resolve();
    },
    send(message) {
      const written = write(serializeMessage(message));
      // What we send is well formed: asking the SDK's schemas would cost more than the rest of the way.
      return "method" in message ? written : written.finally(() => settle(message.id));
    },
    close() {
      if (isClosed) return Promise.resolve();
      isClosed = true;
      clearTimeout(drainTimer);
      input.off("data", lines.push);
      input.pause();
      lines.clear();
      transport.onclose?.();
      onEnd?.();
      return Promise.resolve();
    },
  };

  function receive(text: string): void {
    let message: JSONRPCMessage;
    try {
      message = parseMessage(text);
    } catch (error) {
      transport.onerror?.(error instanceof Error ? error : new Error(String(error)));
      const id = parsedId(text);
      if (id !== undefined) refuse(id, -32600, "not a valid JSON-RPC 2.0 message");
      return;
    }
    if ("method" in message && "id" in message) pending.add(message.id);
    const cancelled = "method" in message && message.method === "notifications/cancelled" ? message.params : undefined;
    transport.onmessage?.(message);
    // A cancelled request gets no answer.
    if (cancelled !== undefined) settle(cancelled["requestId"] as RequestId | undefined);
  }

  function refuse(id: RequestId | undefined, code: number, message: string): void {
    if (id === undefined) return transport.onerror?.(new Error(message));
    write(serializeMessage({ jsonrpc: "2.0", id, error: { code, message } })).catch(() => undefined);
  }

  function write(text: string): Promise<void> {
    if (isClosed) return Promise.reject(new Error("the connection is closed"));
    return new Promise((resolve, reject) => {
      output.write(text, (error) => (error ? reject(error) : resolve()));
    });
  }

  function settle(id: RequestId | undefined): void {
    if (id === undefined || !pending.delete(id)) return;
    if (pending.size === 0 && drainTimer !== undefined) void transport.close();
  }

  function onInputEnd(): void {
    if (isClosed || drainTimer !== undefined) return;
    if (pending.size === 0) void transport.close();
    else drainTimer = setTimeout(() => void transport.close(), drainMs);
  }

  /** EPIPE and the like: nobody listens any more. */
  function fail(error: Error): void {
    if (isClosed) return;
    transport.onerror?.(error);
    void transport.close();
  }

  return transport;
}

const messageKeys: ReadonlySet<string> = new Set(["jsonrpc", "id", "method", "params"]);

/**
 * A plain request or notification is seen at a glance; the SDK's schemas judge the rest, and every request's own
 * parameters later. They cost more than all else on the way in, and nearly all messages are plain.
 */
function parseMessage(text: string): JSONRPCMessage {
  const value: unknown = JSON.parse(text);
  return isPlainCall(value) ? value : deserializeMessage(text);
}

function isPlainCall(value: unknown): value is JSONRPCMessage {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const { jsonrpc, id, method, params } = value as Record<string, unknown>;
  const isId = !("id" in value) || typeof id === "string" || Number.isSafeInteger(id);
  const isParams = !("params" in value) || (typeof params === "object" && params !== null && !Array.isArray(params));
  return (
    jsonrpc === "2.0" &&
    typeof method === "string" &&
    isId &&
    isParams &&
    Object.keys(value).every((key) => messageKeys.has(key))
  );
}

/** The id of a message that is JSON but no JSON-RPC. */
function parsedId(text: string): RequestId | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const id = typeof value === "object" && value !== null && "method" in value && "id" in value ? value.id : undefined;
    return typeof id === "string" || typeof id === "number" ? id : undefined;
  } catch {
    return undefined;
  }
}
