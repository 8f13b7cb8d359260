import {
  serializeMessage,
  SUBSCRIPTION_ID_META_KEY,
  type JSONRPCMessage,
  type ProgressToken,
} from "@modelcontextprotocol/server";
import type { Writable } from "node:stream";
import { textNoteOf } from "./text-notes.ts";

export interface SendQueueLimits {
  /** With this much unread the client is behind: what can wait does, and nothing more is asked of us. */
  readonly behindBytes: number;
  /** With this much unread it is given up. */
  readonly lostBytes: number;
}

export const sendQueueLimits: SendQueueLimits = { behindBytes: 1024 ** 2, lostBytes: 32 * 1024 ** 2 };

/** Messages being sent to one client, which may be slow to read them. */
export interface SendQueue {
  /**
   * Writes a message in one piece. To a client that is behind, progress and changes are held instead: the newest of each
   * token, one of each address; they follow when it has caught up.
   */
  send(message: JSONRPCMessage): void;
  /** Progress that waits is not sent any more: its call has ended. */
  forget(token: ProgressToken): void;
  /** Whether everything has left. */
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
    /** Called whenever the last of what was written has left. */
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
      // Some of them may have put it behind again.
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

/** What a later message takes the place of; undefined for those of which none may be missing. */
function keyOf(message: JSONRPCMessage): string | undefined {
  if (!("method" in message) || "id" in message) return undefined;
  const { method, params } = message;
  if (method === "notifications/progress") {
    // A text is told piece by piece: none of them may be missing.
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
