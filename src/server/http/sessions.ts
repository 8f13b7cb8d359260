import type { JSONRPCMessage, RequestId } from "@modelcontextprotocol/server";
import type { Timers } from "../../orchestrator/util/timers.ts";

/** The slot of one open session, which tracks its traffic. */
export interface Lease {
  /** An HTTP exchange of the session begins; call the returned function at its end. */
  exchange(): () => void;
  received(message: JSONRPCMessage): void;
  sent(message: JSONRPCMessage): void;
  /** The number of requests without an answer. */
  pending(): number;
  release(): void;
}

/**
 * Limits sessions of both kinds and ends unused ones. Only an open exchange (a stream) keeps a session, because its
 * connection is known to be alive:
 *
 * | open exchanges | running requests   | ends after |
 * |----------------|--------------------|------------|
 * | some           | any                | never      |
 * | none           | some               | `graceMs`  |
 * | none           | none               | `idleMs`, or at once when a new session needs room: the longest idle first |
 */
export function createSessionSlots(
  limits: {
    readonly maxSessions: number;
    /** A session without open exchanges and running requests ends after this time. */
    readonly idleMs: number;
    /** A session with running requests whose client has disconnected ends after this time, as it may reconnect. */
    readonly graceMs: number;
  },
  timers: Timers,
) {
  /** Least recently used first. A busy session has no `giveWay`. */
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
    /** Undefined when all slots are taken by busy sessions. `onExpire` is called at most once, and must release. */
    take(onExpire: (why: string) => void): Lease | undefined {
      if (taken.size >= limits.maxSessions && !makeRoom()) return undefined;
      /** Id → count: a client that reuses an id still has several requests running. */
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
            : timers.after(limits.idleMs, () => onExpire("it was not used"));
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

/**
 * Reports a session's messages and its end to its lease. Call it after the server is connected. An outgoing message for
 * which `mayWrite` returns false is dropped.
 */
export function observe(
  transport: {
    onmessage?: ((message: JSONRPCMessage, extra?: never) => void) | undefined;
    onclose?: (() => void) | undefined;
    send(message: JSONRPCMessage, options?: never): Promise<void>;
  },
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
