import {
  serializeMessage,
  SUBSCRIPTION_ID_META_KEY,
  type JSONRPCMessage,
  type ProgressToken,
} from "@modelcontextprotocol/server";
import type { Writable } from "node:stream";
import { textNoteOf } from "../call/progress.ts";

export interface SendQueueLimits {
  /** With this much unread the client is behind: what can wait is held, and its requests are not read. */
  readonly behindBytes: number;
  /** With this much unread the connection is closed. */
  readonly lostBytes: number;
}

const sendQueueLimits: SendQueueLimits = { behindBytes: 1024 ** 2, lostBytes: 32 * 1024 ** 2 };

/** The outgoing messages of one client, which may be slow to read them. */
export interface SendQueue {
  /**
   * Writes a message in one piece. While the client is behind, progress and change notifications are held instead (the
   * newest per token, one per URI) and sent when it has caught up.
   */
  send(message: JSONRPCMessage): void;
  /** Drops held progress of a call that has ended. */
  forget(token: ProgressToken): void;
  /** Whether everything has been written. */
  isEmpty(): boolean;
  close(): void;
}

/**
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
  { behindBytes, lostBytes }: SendQueueLimits = sendQueueLimits,
): SendQueue {
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
    send(message) {
      const key = isBehind ? keyOf(message) : undefined;
      if (key === undefined) write(message);
      else held.set(key, message);
    },
    forget: (token) => void held.delete(progressKey(token)),
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
