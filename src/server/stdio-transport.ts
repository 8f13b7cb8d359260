import {
  deserializeMessage,
  RELATED_TASK_META_KEY,
  type JSONRPCMessage,
  type ProgressToken,
  type RequestId,
  type Transport,
} from "@modelcontextprotocol/server";
import type { Readable, Writable } from "node:stream";
import { createLineSplitter, defaultMaxLineBytes, idInEdge } from "../ipc/lines.ts";
import { createPipingWatch } from "../ipc/piping.ts";
import { createSendQueue, type SendQueueLimits } from "./send-queue.ts";

export interface StdioOptions {
  /** Longer messages are refused, and never held in memory. */
  readonly maxLineBytes?: number;
  /** How long requests that are under way may still be answered when the client closes its end. */
  readonly drainMs?: number;
  /** A client that pipes its requests in and closes is given every answer, however long it takes. */
  readonly areScriptsAnswered?: boolean;
  /** The connection has ended, from either side. Called once. */
  readonly onEnd?: () => void;
  /** Why a client that does not read was given up. */
  readonly onLost?: (message: string) => void;
  readonly limits?: SendQueueLimits;
  /** Requests under way at once; more are refused. */
  readonly maxPending?: number;
}

export interface StdioTransport extends Transport {
  /** Reads no more, whatever happens: what comes stays with whoever sends it. Answers still leave. */
  stopReading(): void;
}

/** For answers that are about to come when a client closes its end; below the 2 s in which we must end. */
const defaultDrainMs = 1_000;
/** Between each two of them the event loop goes round: where others take the cores, time alone brings no answer. */
const drainTurns = 20;
/** More than any client has under way, and few enough that their answers can be held. */
const defaultMaxPending = 256;

/**
 * MCP over a pair of streams, one JSON message a line. In place of the SDK's own: that one closes the connection over
 * a long line, leaves a malformed request without an answer, and drops what is under way when input ends. A client that
 * does not read what we write is not read from either, and is given up in the end: see `queue.ts`.
 */
export function createStdioTransport(input: Readable, output: Writable, options: StdioOptions = {}): StdioTransport {
  const { maxLineBytes = defaultMaxLineBytes, drainMs = defaultDrainMs, maxPending = defaultMaxPending } = options;
  /** Requests without an answer, and the token under which their progress is told. */
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
        // What it did not read is not kept for it.
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
      // What we send is well formed: asking the SDK's schemas would cost more than the rest of the way.
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
    // A listen stream is open for as long as its client likes, and has a bound of its own.
    if ("id" in message && message.method !== "subscriptions/listen") {
      if (pending.size >= maxPending) {
        return refuse(message.id, -32000, `too many requests at once: ${maxPending} wait for an answer already`);
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

  /** A message that is JSON but no JSON-RPC, where it has an id to answer. */
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

  /** After the client has closed its end: nothing waits for an answer, and every answer has left. */
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

  /** EPIPE and the like: nobody listens any more. */
  function fail(error: Error): void {
    if (isClosed) return;
    transport.onerror?.(error);
    void transport.close();
  }

  return transport;
}

/** Whoever sends is not told when its message has left: what that is good for, the queue knows. */
const sent = Promise.resolve();

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
    isPlainMeta(params as object | undefined) &&
    Object.keys(value).every((key) => messageKeys.has(key))
  );
}

/**
 * The SDK drops a message whose `_meta` doesn't match its schema without a word, and its sender would wait for ever.
 * What it says of related tasks is left to the schema.
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
