import type { Readable, Writable } from "node:stream";
import {
  type JSONRPCMessage,
  type ProgressToken,
  RELATED_TASK_META_KEY,
  type RequestId,
  type Transport,
  deserializeMessage,
} from "@modelcontextprotocol/server";
import { createLineSplitter, createPipingWatch, defaultMaxLineBytes, idInEdge } from "../../ipc/lines.ts";
import { type SendQueueLimits, createSendQueue } from "./send-queue.ts";

export interface StdioOptions {
  /** Longer messages are rejected, and never held in memory. */
  readonly maxLineBytes?: number;
  /** How long running requests may still be answered after the client has closed its end. */
  readonly drainMs?: number;
  /** A client that pipes its requests in and closes gets every answer, however long it takes. */
  readonly areScriptsAnswered?: boolean;
  /** The connection has ended, from either side. Called once. */
  readonly onEnd?: () => void;
  /** Called with the reason when the connection of a client that does not read is closed. */
  readonly onLost?: (message: string) => void;
  readonly limits?: SendQueueLimits;
  /** Limit of running requests; more are rejected. */
  readonly maxPending?: number;
}

export interface StdioTransport extends Transport {
  /** Stops reading for good: input stays with its sender. Answers are still sent. */
  stopReading(): void;
}

/** Time for answers after a client has closed its end; below the 2 s within which we must exit. */
const defaultDrainMs = 1_000;
/** The drain time is counted in turns of the event loop: on a busy machine time alone would pass without progress. */
const drainTurns = 20;
/** More than any client has running at once, and few enough for their answers to be held in memory. */
const defaultMaxPending = 256;

/**
 * MCP over a pair of streams, one JSON message per line. It replaces the SDK's transport, which closes the connection on
 * a long line, leaves a malformed request unanswered, and drops running requests when input ends. A client that does not
 * read is not read from either, and its connection is closed in the end: see `send-queue.ts`.
 */
export function createStdioTransport(input: Readable, output: Writable, options: StdioOptions = {}): StdioTransport {
  const { maxLineBytes = defaultMaxLineBytes, drainMs = defaultDrainMs, maxPending = defaultMaxPending } = options;
  /** Requests without an answer, with the tokens of their progress. */
  const pending = new Map<RequestId, ProgressToken | undefined>();
  const piping = createPipingWatch();
  let isClosed = false;
  let isStopped = false;
  let isEnding = false;
  let drainTimer: NodeJS.Timeout | undefined;

  const queue = createSendQueue(
    output,
    {
      onBehind(isBehind) {
        if (isClosed) return;
        if (isBehind || isStopped) input.pause();
        else input.resume();
      },
      onLost(bytes) {
        if (isClosed) return;
        options.onLost?.(`closed a connection whose client left ${bytes} bytes unread`);
        void transport.close();
        output.destroy();
      },
      onEmpty: endWhenDone,
    },
    options.limits,
  );

  const lines = createLineSplitter({
    maxLineBytes,
    onLine: receive,
    onRefused: ({ why, head, tail }) => refuse(idInEdge(head) ?? idInEdge(tail), -32600, why),
  });

  const transport: StdioTransport = {
    start() {
      input.on("data", lines.push);
      if (isStopped) input.pause();
      input.on("end", onInputEnd);
      input.on("close", onInputEnd);
      input.on("error", fail);
      output.on("error", fail);
      return Promise.resolve();
    },
    send(message) {
      if (isClosed) return Promise.reject(new Error("the connection is closed"));
      // Our own messages are well formed: validating them would cost more than everything else here.
      if (!("method" in message) && message.id !== undefined) {
        settle(message.id);
        piping.answered();
      }
      queue.send(message);
      return sent;
    },
    stopReading() {
      isStopped = true;
      input.pause();
    },
    close() {
      if (isClosed) return Promise.resolve();
      isClosed = true;
      clearInterval(drainTimer);
      input.off("data", lines.push);
      input.pause();
      lines.clear();
      queue.close();
      transport.onclose?.();
      options.onEnd?.();
      return Promise.resolve();
    },
  };

  function receive(text: string): void {
    let message: JSONRPCMessage;
    try {
      message = parseMessage(text);
    } catch (error) {
      transport.onerror?.(error instanceof Error ? error : new Error(String(error)));
      refuseMalformed(text);
      return;
    }
    if ("method" in message) note(message);
    else transport.onmessage?.(message);
  }

  function note(message: Extract<JSONRPCMessage, { method: string }>): void {
    // Listen streams stay open, and have a limit of their own.
    if ("id" in message && message.method !== "subscriptions/listen") {
      if (pending.size >= maxPending) {
        return refuse(message.id, -32000, `too many requests at once: ${maxPending} are already running`);
      }
      pending.set(message.id, message.params?._meta?.progressToken);
      piping.requested();
    }
    transport.onmessage?.(message);
    // A cancelled request gets no answer.
    if (message.method === "notifications/cancelled") {
      settle(message.params?.["requestId"] as RequestId | undefined);
      endWhenDone();
    }
  }

  /** Answers a message that is JSON but not JSON-RPC, when it has an id. */
  function refuseMalformed(text: string): void {
    const value = tryParse(text);
    if (typeof value !== "object" || value === null || !("method" in value) || !("id" in value)) return;
    if (typeof value.id !== "string" && typeof value.id !== "number") return;
    const params = "params" in value ? value.params : undefined;
    if (params !== undefined && (typeof params !== "object" || params === null || Array.isArray(params))) {
      refuse(value.id, -32602, "params must be an object");
    } else if (!isPlainMeta(params)) {
      refuse(value.id, -32602, "params._meta must be an object, and its progressToken a string or an integer");
    } else refuse(value.id, -32600, "not a valid JSON-RPC 2.0 message");
  }

  function refuse(id: RequestId | undefined, code: number, message: string): void {
    if (id === undefined) return transport.onerror?.(new Error(message));
    if (!isClosed) queue.send({ jsonrpc: "2.0", id, error: { code, message } });
  }

  function settle(id: RequestId | undefined): void {
    if (id === undefined) return;
    const token = pending.get(id);
    if (token !== undefined) queue.forget(token);
    pending.delete(id);
  }

  /** Closes once the client has closed its end, no request is running and every answer has been written. */
  function endWhenDone(): void {
    if (isEnding && pending.size === 0 && queue.isEmpty()) void transport.close();
  }

  function onInputEnd(): void {
    if (isClosed || isEnding) return;
    isEnding = true;
    if (!(options.areScriptsAnswered === true && piping.ended())) {
      let turns = 0;
      drainTimer = setInterval(() => {
        turns += 1;
        if (turns === drainTurns) void transport.close();
      }, drainMs / drainTurns);
    }
    endWhenDone();
  }

  /** EPIPE and the like: the other end is closed. */
  function fail(error: Error): void {
    if (isClosed) return;
    transport.onerror?.(error);
    void transport.close();
  }

  return transport;
}

/** The result of every `send`: the queue handles slow readers, so senders don't wait. */
const sent = Promise.resolve();

const messageKeys: ReadonlySet<string> = new Set(["jsonrpc", "id", "method", "params"]);

/**
 * Recognises plain requests and notifications, which are nearly all messages, without the SDK's schemas, since those cost
 * more than all other steps. Other messages are validated with the schemas, and every request's parameters later.
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
    isPlainMeta(params as object | undefined) &&
    Object.keys(value).every((key) => messageKeys.has(key))
  );
}

/**
 * The SDK silently drops a message whose `_meta` doesn't match its schema, and its sender would wait forever. Related
 * tasks in it are left to the schema.
 */
function isPlainMeta(params: object | null | undefined): boolean {
  if (params === undefined || params === null || !("_meta" in params) || params._meta === undefined) return true;
  const { _meta: meta } = params;
  if (typeof meta !== "object" || meta === null || Array.isArray(meta)) return false;
  const token = "progressToken" in meta ? meta.progressToken : undefined;
  const isToken = token === undefined || typeof token === "string" || Number.isSafeInteger(token);
  return isToken && !(RELATED_TASK_META_KEY in meta);
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
