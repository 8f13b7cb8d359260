import type { Readable, Writable } from "node:stream";
import {
  CLIENT_INFO_META_KEY,
  type JSONRPCMessage,
  type ProgressToken,
  RELATED_TASK_META_KEY,
  type RequestId,
  type Transport,
  deserializeMessage,
  serializeMessage,
  SUBSCRIPTION_ID_META_KEY,
} from "@modelcontextprotocol/server";
import { createLineSplitter, createPipingWatch, defaultMaxLineBytes, idInEdge } from "../../ipc/lines.ts";
import { fieldsIn, isRecord } from "../../orchestrator/util/values.ts";
import { textNoteOf } from "../call/progress.ts";

interface StdioOptions {
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
  readonly limits?: typeof sendQueueLimits;
  /** Limit of running requests; more are rejected. */
  readonly maxPending?: number;
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
export class StdioTransport implements Transport {
  onmessage?: Transport["onmessage"];
  onclose?: () => void;
  onerror?: (error: Error) => void;
  readonly #input: Readable;
  readonly #output: Writable;
  readonly #options: StdioOptions;
  readonly #maxPending: number;
  /** Requests without an answer, with the tokens of their progress. */
  readonly #pending = new Map<RequestId, ProgressToken | undefined>();
  readonly #piping = createPipingWatch();
  readonly #queue: ReturnType<typeof createSendQueue>;
  readonly #lines: ReturnType<typeof createLineSplitter>;
  #clientName: string | undefined;
  #isClosed = false;
  #isStopped = false;
  #isEnding = false;
  #drainTimer: NodeJS.Timeout | undefined;

  constructor(input: Readable, output: Writable, options: StdioOptions = {}) {
    this.#input = input;
    this.#output = output;
    this.#options = options;
    this.#maxPending = options.maxPending ?? defaultMaxPending;
    this.#queue = createSendQueue(
      output,
      {
        onBehind: (isBehind) => {
          if (this.#isClosed) return;
          if (isBehind || this.#isStopped) input.pause();
          else input.resume();
        },
        onLost: (bytes) => {
          if (this.#isClosed) return;
          options.onLost?.(`closed a connection whose client left ${bytes} bytes unread`);
          void this.close();
          output.destroy();
        },
        onEmpty: () => this.#endWhenDone(),
      },
      options.limits,
    );
    this.#lines = createLineSplitter({
      maxLineBytes: options.maxLineBytes ?? defaultMaxLineBytes,
      onLine: (text) => this.#receive(text),
      onRefused: ({ why, head, tail }) => this.#refuse(idInEdge(head) ?? idInEdge(tail), -32600, why),
    });
  }

  start(): Promise<void> {
    this.#input.on("data", this.#lines.push);
    if (this.#isStopped) this.#input.pause();
    this.#input.on("end", this.#onInputEnd);
    this.#input.on("close", this.#onInputEnd);
    this.#input.on("error", this.#fail);
    this.#output.on("error", this.#fail);
    return Promise.resolve();
  }

  send(message: JSONRPCMessage): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error("the connection is closed"));
    // Our own messages are well formed: validating them would cost more than everything else here.
    if (!("method" in message) && message.id !== undefined) {
      this.#settle(message.id);
      this.#piping.answered();
    }
    this.#queue.send(message);
    return sent;
  }

  /** Stops reading for good: input stays with its sender. Answers are still sent. */
  stopReading(): void {
    this.#isStopped = true;
    this.#input.pause();
  }

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    clearInterval(this.#drainTimer);
    this.#input.off("data", this.#lines.push);
    this.#input.pause();
    this.#lines.clear();
    this.#queue.close();
    this.onclose?.();
    this.#options.onEnd?.();
    return Promise.resolve();
  }

  /** Ids of requests without an answer; open listen streams don't count. */
  unanswered(): readonly RequestId[] {
    return [...this.#pending.keys()];
  }

  /** The client as it introduced itself; undefined before that. */
  clientName(): string | undefined {
    return this.#clientName;
  }

  #receive(text: string): void {
    let message: JSONRPCMessage;
    try {
      message = parseMessage(text);
    } catch (error) {
      this.onerror?.(error instanceof Error ? error : new Error(String(error)));
      this.#refuseMalformed(text);
      return;
    }
    if ("method" in message) this.#note(message);
    else this.onmessage?.(message);
  }

  #note(message: Extract<JSONRPCMessage, { method: string }>): void {
    const { method, params } = message;
    // Listen streams stay open, and have a limit of their own.
    if ("id" in message && method !== "subscriptions/listen") {
      if (this.#pending.size >= this.#maxPending) {
        return this.#refuse(message.id, -32000, `too many requests at once: ${this.#maxPending} are already running`);
      }
      this.#pending.set(message.id, params?._meta?.progressToken);
      this.#piping.requested();
    }
    // Legacy clients introduce themselves once, modern ones with each request.
    if (method === "initialize") this.#clientName = nameIn(params?.["clientInfo"]) ?? this.#clientName;
    else this.#clientName ??= nameIn(params?._meta?.[CLIENT_INFO_META_KEY]);
    this.onmessage?.(message);
    // A cancelled request gets no answer.
    if (method === "notifications/cancelled") {
      this.#settle(params?.["requestId"] as RequestId | undefined);
      this.#endWhenDone();
    }
  }

  /** Answers a message that is JSON but not JSON-RPC, when it has an id. */
  #refuseMalformed(text: string): void {
    const { id, method, params } = fieldsIn(text);
    if (method === undefined || (typeof id !== "string" && typeof id !== "number")) return;
    if (params !== undefined && !isRecord(params)) this.#refuse(id, -32602, "params must be an object");
    else if (!isPlainMeta(params)) {
      this.#refuse(id, -32602, "params._meta must be an object, and its progressToken a string or an integer");
    } else this.#refuse(id, -32600, "not a valid JSON-RPC 2.0 message");
  }

  #refuse(id: RequestId | undefined, code: number, message: string): void {
    if (id === undefined) return this.onerror?.(new Error(message));
    if (!this.#isClosed) this.#queue.send({ jsonrpc: "2.0", id, error: { code, message } });
  }

  #settle(id: RequestId | undefined): void {
    if (id === undefined) return;
    const token = this.#pending.get(id);
    if (token !== undefined) this.#queue.forget(token);
    this.#pending.delete(id);
  }

  /** Closes once the client has closed its end, no request is running and every answer has been written. */
  #endWhenDone(): void {
    if (this.#isEnding && this.#pending.size === 0 && this.#queue.isEmpty()) void this.close();
  }

  readonly #onInputEnd = (): void => {
    if (this.#isClosed || this.#isEnding) return;
    this.#isEnding = true;
    if (!(this.#options.areScriptsAnswered === true && this.#piping.ended())) {
      let turns = 0;
      this.#drainTimer = setInterval(
        () => {
          turns += 1;
          if (turns === drainTurns) void this.close();
        },
        (this.#options.drainMs ?? defaultDrainMs) / drainTurns,
      );
    }
    this.#endWhenDone();
  };

  /** EPIPE and the like: the other end is closed. */
  readonly #fail = (error: Error): void => {
    if (this.#isClosed) return;
    this.onerror?.(error);
    void this.close();
  };
}

function nameIn(value: unknown): string | undefined {
  return isRecord(value) && typeof value["name"] === "string" ? value["name"] : undefined;
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

/**
 * With `behindBytes` unread a client is behind: what can wait is held, and its requests are not read. With `lostBytes` its
 * connection is closed.
 */
const sendQueueLimits = { behindBytes: 1024 ** 2, lostBytes: 32 * 1024 ** 2 };

/**
 * The outgoing messages of one client, which may be slow to read them.
 *
 * | backlog                | what happens                                                                   |
 * |------------------------|--------------------------------------------------------------------------------|
 * | under `behindBytes`    | every message is written                                                       |
 * | from there on          | `onBehind(true)`; progress and changes are held, answers are written           |
 * | nothing left           | what was held is written, `onBehind(false)`                                    |
 * | over `lostBytes`       | `onLost`: the client does not read                                             |
 */
export function createSendQueue(
  output: Writable,
  events: {
    readonly onBehind: (isBehind: boolean) => void;
    readonly onLost: (bytes: number) => void;
    /** Called whenever all writes have completed. */
    readonly onEmpty: () => void;
  },
  { behindBytes, lostBytes } = sendQueueLimits,
) {
  const held = new Map<string, JSONRPCMessage>();
  let isBehind = false;
  let unwritten = 0;

  function onWritten(): void {
    unwritten -= 1;
    if (unwritten === 0) events.onEmpty();
  }

  function write(message: JSONRPCMessage): void {
    unwritten += 1;
    output.write(serializeMessage(message), onWritten);
    const { writableLength } = output;
    if (writableLength < behindBytes) return;
    if (!isBehind) {
      isBehind = true;
      events.onBehind(true);
    }
    if (writableLength > lostBytes) events.onLost(writableLength);
  }

  function onDrain(): void {
    if (!isBehind) return;
    isBehind = false;
    const waiting = [...held];
    held.clear();
    for (const [key, message] of waiting) {
      // The writes may have put the client behind again.
      if (isBehind) held.set(key, message);
      else write(message);
    }
    if (!isBehind) events.onBehind(false);
  }

  output.on("drain", onDrain);

  return {
    /**
     * Writes a message in one piece. While the client is behind, progress and change notifications are held instead (the
     * newest per token, one per URI) and sent when it has caught up.
     */
    send(message: JSONRPCMessage): void {
      const key = isBehind ? keyOf(message) : undefined;
      if (key === undefined) write(message);
      else held.set(key, message);
    },
    /** Drops held progress of a call that has ended. */
    forget: (token: ProgressToken) => void held.delete(progressKey(token)),
    /** Whether everything has been written. */
    isEmpty: () => unwritten === 0 && held.size === 0,
    close() {
      output.off("drain", onDrain);
      held.clear();
    },
  };
}

/** The key under which a later message replaces this one; undefined for messages that must all arrive. */
function keyOf(message: JSONRPCMessage): string | undefined {
  if (!("method" in message) || "id" in message) return undefined;
  const { method, params } = message;
  if (method === "notifications/progress") {
    // Pieces of a text must all arrive.
    return textNoteOf({ ...params }) === undefined
      ? progressKey(params?.["progressToken"] as ProgressToken)
      : undefined;
  }
  if (method !== "notifications/resources/updated" && !method.endsWith("/list_changed")) return undefined;
  return JSON.stringify([method, params?.["uri"], params?._meta?.[SUBSCRIPTION_ID_META_KEY]]);
}

function progressKey(token: ProgressToken): string {
  return `progress ${typeof token} ${token}`;
}
