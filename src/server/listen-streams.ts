import {
  SUBSCRIPTION_ID_META_KEY,
  type JSONRPCMessage,
  type RequestId,
  type Transport,
} from "@modelcontextprotocol/server";

/** The open `subscriptions/listen` streams of one connection. The SDK keeps them to itself, and we must know. */
export interface ListenStreams {
  /** Wraps the transport, to see streams as they are acknowledged and as they end. */
  tap(transport: Transport): Transport;
  /** Called with the URIs of each stream as it opens; the answer is called as it ends. Replaces who was told before. */
  onOpen(opened: (uris: readonly string[]) => () => void): void;
}

export function createListenStreams(): ListenStreams {
  const open = new Map<RequestId, { readonly uris: readonly string[]; end: () => void }>();
  /** Asked for and not acknowledged; one that is cancelled before that leaves it again. */
  const opening = new Set<RequestId>();
  let tell: (uris: readonly string[]) => () => void = () => () => undefined;

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
    // The answer to a listen request comes when its stream is over.
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
    open.set(id, { uris, end: tell(uris) });
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
            // Before it is passed on: the acknowledgement may come at once.
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
      tell = opened;
      for (const stream of open.values()) {
        stream.end();
        stream.end = opened(stream.uris);
      }
    },
  };
}
