import {
  deserializeMessage,
  serializeMessage,
  type JSONRPCMessage,
  type RequestId,
  type Transport,
} from "@modelcontextprotocol/server";
import type { Readable, Writable } from "node:stream";

export interface StdioOptions {
  /** Longer messages are refused, and never held in memory. */
  readonly maxLineBytes?: number;
  /** How long requests that are under way may still be answered when the client closes its end. */
  readonly drainMs?: number;
  /** The connection has ended, from either side. Called once. */
  readonly onEnd?: () => void;
}

/** As much as an HTTP body may have; long texts belong into files. */
const defaultMaxLineBytes = 4 * 1024 * 1024;
/** Enough for the answers to a script that pipes its requests in and closes; far below the 2 s in which we must end. */
const defaultDrainMs = 500;
/** Where the id of an oversized message is looked for: clients write it first or last. */
const edgeBytes = 512;

/**
 * MCP over a pair of streams, one JSON message a line. In place of the SDK's own: that one closes the connection over
 * a long line, leaves a malformed request without an answer, and drops what is under way when input ends.
 */
export function createStdioTransport(input: Readable, output: Writable, options: StdioOptions = {}): Transport {
  const { maxLineBytes = defaultMaxLineBytes, drainMs = defaultDrainMs, onEnd } = options;
  const pending = new Set<RequestId>();
  let line: Buffer[] = [];
  let lineBytes = 0;
  let tail: Buffer = Buffer.alloc(0);
  let isClosed = false;
  let drainTimer: NodeJS.Timeout | undefined;

  const transport: Transport = {
    start() {
      input.on("data", onData);
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
      input.off("data", onData);
      input.pause();
      line = [];
      transport.onclose?.();
      onEnd?.();
      return Promise.resolve();
    },
  };

  function onData(chunk: Buffer): void {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, from);
      keep(chunk.subarray(from, end === -1 ? undefined : end));
      if (end === -1) return;
      finishLine();
      from = end + 1;
    }
  }

  function keep(part: Buffer): void {
    lineBytes += part.length;
    if (lineBytes <= maxLineBytes) line.push(part);
    else {
      // What came so far is kept only at its edges, where the id may be.
      if (line.length > 1 || (line[0]?.length ?? 0) > edgeBytes) {
        const whole = Buffer.concat(line);
        line = [Buffer.from(whole.subarray(0, edgeBytes))];
        tail = Buffer.from(whole.subarray(-edgeBytes));
      }
      tail = Buffer.from(Buffer.concat([tail, part.subarray(-edgeBytes)]).subarray(-edgeBytes));
    }
  }

  function finishLine(): void {
    const bytes = lineBytes;
    const text = Buffer.concat(line).toString("utf8").trim();
    const end = tail.toString("utf8");
    line = [];
    lineBytes = 0;
    tail = Buffer.alloc(0);
    if (bytes > maxLineBytes) {
      const limit = `${Math.floor(maxLineBytes / 1024 / 1024)} MiB`;
      refuse(
        idIn(text) ?? idIn(end),
        -32600,
        `message of ${bytes} bytes is over the limit of ${limit}; name files instead`,
      );
    } else if (text !== "") receive(text);
  }

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

function idIn(text: string): RequestId | undefined {
  const found = /"id"\s*:\s*(\d{1,15}|"[^"\\]{1,200}")/.exec(text)?.[1];
  return found === undefined ? undefined : (JSON.parse(found) as RequestId);
}
