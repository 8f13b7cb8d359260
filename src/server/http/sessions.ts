import type { JSONRPCMessage, RequestId } from "@modelcontextprotocol/server";
import type { Timers } from "../../orchestrator/async/timers.ts";

export interface SessionLimits {
  readonly maxSessions: number;
  /** A session without open exchanges and without requests under way ends after so long. */
  readonly idleMs: number;
  /** One whose client is gone while requests are under way ends after so long: it may be about to come back. */
  readonly graceMs: number;
}

/** Requests under way in one session; more are refused with 429. */
export const maxPendingRequests = 256;

/** One session's place among those that may be open, and what is known of its traffic. */
export interface Lease {
  /** An HTTP exchange of the session begins; the answer is called at its end. */
  exchange(): () => void;
  received(message: JSONRPCMessage): void;
  sent(message: JSONRPCMessage): void;
  /** Requests without an answer yet. */
  pending(): number;
  release(): void;
}

export interface SessionSlots {
  /** Undefined when all are taken. `onExpire` is called at most once, and has to release. */
  take(onExpire: (why: string) => void): Lease | undefined;
  count(): number;
}

/**
 * Counts sessions of both kinds and ends those that nobody uses. An open exchange (a stream) keeps a session: its
 * connection is known to live. Nothing else does:
 *
 * | open exchanges | requests under way | ends after |
 * |----------------|--------------------|------------|
 * | some           | any                | never      |
 * | none           | some               | `graceMs`  |
 * | none           | none               | `idleMs`   |
 */
export function createSessionSlots(limits: SessionLimits, timers: Timers): SessionSlots {
  const taken = new Set<Lease>();

  return {
    count: () => taken.size,
    take(onExpire) {
      if (taken.size >= limits.maxSessions) return undefined;
      const pending = new Set<RequestId>();
      let exchanges = 0;
      let cancelTimer = (): void => undefined;

      const arm = (): void => {
        cancelTimer();
        if (exchanges > 0 || !taken.has(lease)) return;
        cancelTimer =
          pending.size > 0
            ? timers.after(limits.graceMs, () => onExpire("its client has gone"))
            : timers.after(limits.idleMs, () => onExpire("nobody used it"));
      };
      const lease: Lease = {
        exchange() {
          exchanges += 1;
          arm();
          let isOpen = true;
          return () => {
            if (!isOpen) return;
            isOpen = false;
            exchanges -= 1;
            arm();
          };
        },
        received(message) {
          if (!("method" in message)) return;
          if ("id" in message) pending.add(message.id);
          // A cancelled request gets no answer.
          else if (message.method === "notifications/cancelled") {
            pending.delete((message.params as { requestId?: RequestId } | undefined)?.requestId ?? "");
          }
          arm();
        },
        sent(message) {
          if ("method" in message || message.id === undefined) return;
          pending.delete(message.id);
          arm();
        },
        pending: () => pending.size,
        release() {
          cancelTimer();
          taken.delete(lease);
        },
      };
      taken.add(lease);
      arm();
      return lease;
    },
  };
}

/** What a transport of either SDK version has in common. */
interface ObservableTransport {
  onmessage?: ((message: JSONRPCMessage, extra?: never) => void) | undefined;
  onclose?: (() => void) | undefined;
  send(message: JSONRPCMessage, options?: never): Promise<void>;
}

/**
 * Tells a session's lease what goes through its transport, and when it has closed. Called after the server is
 * connected. `mayWrite` is asked before every message out; a message that may not be written is dropped.
 */
export function observe(
  transport: ObservableTransport,
  lease: Lease,
  onClosed: () => void,
  mayWrite: () => boolean = () => true,
): void {
  const { onmessage, onclose } = transport;
  const send = transport.send.bind(transport);
  // oxlint-disable unicorn/prefer-add-event-listener -- the SDK has no other way.
  transport.onmessage = (message, extra) => {
    lease.received(message);
    onmessage?.call(transport, message, extra);
  };
  transport.onclose = () => {
    lease.release();
    onClosed();
    onclose?.call(transport);
  };
  // oxlint-enable unicorn/prefer-add-event-listener
  transport.send = async (message, options) => {
    lease.sent(message);
    if (mayWrite()) await send(message, options);
  };
}
