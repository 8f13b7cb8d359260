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

/** Whether a body brings more requests than its session may have under way. Notifications and answers always fit. */
export function isTooMany(body: unknown, lease: Pick<Lease, "pending">): boolean {
  const messages: readonly unknown[] = Array.isArray(body) ? body : [body];
  const requests = messages.filter(
    (message) => typeof message === "object" && message !== null && "method" in message && "id" in message,
  );
  return requests.length > 0 && lease.pending() + requests.length > maxPendingRequests;
}

/** One of the sessions that may be open, and what is known of its traffic. */
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
  /** Undefined when all are taken and at work. `onExpire` is called at most once, and has to release. */
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
 * | none           | none               | `idleMs`, or at once when a new session needs room: the longest idle first |
 */
export function createSessionSlots(limits: SessionLimits, timers: Timers): SessionSlots {
  /** Those at work have no way to make room. In the order in which they were used last. */
  const taken = new Map<Lease, { readonly giveWay: (() => void) | undefined }>();

  function makeRoom(): boolean {
    for (const { giveWay } of taken.values()) {
      if (giveWay === undefined) continue;
      giveWay();
      return true;
    }
    return false;
  }

  return {
    count: () => taken.size,
    take(onExpire) {
      if (taken.size >= limits.maxSessions && !makeRoom()) return undefined;
      /** Id → how often: a client that gives all its requests one id has as many under way. */
      const pending = new Map<RequestId, number>();
      let exchanges = 0;
      let cancelTimer = (): void => undefined;

      const giveWay = (): void => {
        lease.release();
        onExpire("it was idle, and a new session needed room");
      };
      const arm = (): void => {
        cancelTimer();
        if (!taken.delete(lease)) return;
        const isIdle = exchanges === 0 && pending.size === 0;
        taken.set(lease, { giveWay: isIdle ? giveWay : undefined });
        if (exchanges > 0) return;
        cancelTimer =
          pending.size > 0
            ? timers.after(limits.graceMs, () => onExpire("its client has gone"))
            : timers.after(limits.idleMs, () => onExpire("nobody used it"));
      };
      const settle = (id: RequestId): void => {
        const count = pending.get(id) ?? 0;
        if (count > 1) pending.set(id, count - 1);
        else pending.delete(id);
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
          if ("id" in message) pending.set(message.id, (pending.get(message.id) ?? 0) + 1);
          // A cancelled request gets no answer.
          else if (message.method === "notifications/cancelled") {
            settle((message.params as { requestId?: RequestId } | undefined)?.requestId ?? "");
          }
          arm();
        },
        sent(message) {
          if ("method" in message || message.id === undefined) return;
          settle(message.id);
          arm();
        },
        pending: () => [...pending.values()].reduce((sum, count) => sum + count, 0),
        release() {
          cancelTimer();
          taken.delete(lease);
        },
      };
      taken.set(lease, { giveWay: undefined });
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
