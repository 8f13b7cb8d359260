import {
  SUBSCRIPTION_ID_META_KEY,
  type JSONRPCMessage,
  type RequestId,
  type Transport,
} from "@modelcontextprotocol/server";

/** The open `subscriptions/listen` streams of one connection, which the SDK does not expose. */
export interface ListenStreams {
  /** Wraps the transport, to see streams as they are acknowledged and as they end. */
  tap(transport: Transport): Transport;
  /** Calls `opened` with the URIs of each stream, and the function it returned when the stream ends. Replaces an earlier one. */
  onOpen(opened: (uris: readonly string[]) => () => void): void;
}

export function createListenStreams(): ListenStreams {
  const open = new Map<RequestId, { readonly uris: readonly string[]; end: () => void }>();
  /** Requested and not acknowledged yet. */
  const opening = new Set<RequestId>();
  let onStream: (uris: readonly string[]) => () => void = () => () => undefined;

  function received(message: JSONRPCMessage): void {
    if (!("method" in message)) return;
    if (message.method === "subscriptions/listen" && "id" in message) opening.add(message.id);
    if (message.method !== "notifications/cancelled") return;
    const id = message.params?.["requestId"] as RequestId | undefined;
    if (id !== undefined) end(id);
  }

  function end(id: RequestId): void {
    opening.delete(id);
    open.get(id)?.end();
    open.delete(id);
  }

  function sent(message: JSONRPCMessage): void {
    // A listen request is answered when its stream ends.
    if (!("method" in message)) {
      if (message.id !== undefined) end(message.id);
      return;
    }
    if (message.method !== "notifications/subscriptions/acknowledged") return;
    const { _meta, notifications } = (message.params ?? {}) as {
      readonly _meta?: { readonly [SUBSCRIPTION_ID_META_KEY]?: RequestId };
      readonly notifications?: { readonly resourceSubscriptions?: readonly string[] };
    };
    const id = _meta?.[SUBSCRIPTION_ID_META_KEY];
    if (id === undefined || !opening.delete(id)) return;
    open.get(id)?.end();
    const uris = notifications?.resourceSubscriptions ?? [];
    open.set(id, { uris, end: onStream(uris) });
  }

  function endAll(): void {
    for (const id of open.keys()) end(id);
  }

  return {
    tap(transport) {
      const tapped: Transport = {
        start() {
          // oxlint-disable unicorn/prefer-add-event-listener -- the SDK's transports have no other way.
          transport.onmessage = (message, extra) => {
            // Before it is passed on, since the acknowledgement may follow at once.
            received(message);
            tapped.onmessage?.(message, extra);
          };
          transport.onerror = (error) => tapped.onerror?.(error);
          transport.onclose = () => {
            endAll();
            tapped.onclose?.();
          };
          // oxlint-enable unicorn/prefer-add-event-listener
          return transport.start();
        },
        send(message, options) {
          if (open.size + opening.size > 0) sent(message);
          return transport.send(message, options);
        },
        close: () => transport.close(),
      };
      return tapped;
    },
    onOpen(opened) {
      onStream = opened;
      for (const stream of open.values()) {
        stream.end();
        stream.end = opened(stream.uris);
      }
    },
  };
}
