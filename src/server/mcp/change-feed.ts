import {
  SUBSCRIPTION_ID_META_KEY,
  type JSONRPCMessage,
  type RequestId,
  type ServerEventBus,
  type Transport,
} from "@modelcontextprotocol/server";
import type { ServerResponse } from "node:http";
import type { Change, Orchestrator } from "../../orchestrator/api/facade.ts";
import type { Log } from "../../orchestrator/api/log.ts";
import { isRecord, messageOf, once } from "../../orchestrator/util/values.ts";
import type { Caller } from "../call/caller.ts";

type Source = Pick<Orchestrator, "onChange" | "watch">;

export type ChangeFeed = ReturnType<typeof createChangeFeed>;

/**
 * Change events for the clients of one connection, or of one HTTP listener. The first watch opens the orchestrator, unless `attach` has provided it. Polling lasts only as long as a watch needs it.
 * A URI may be watched several times. Code is loaded with the first watch, so a connection without one costs nothing.
 */
export function createChangeFeed(open: () => Promise<Source>, log: Log) {
  const counts = new Map<string, number>();
  const listeners = new Set<(event: ChangeEvent) => void>();
  const polls = new Map<"memory" | "models", () => void>();
  let attached: { readonly source: Source; readonly stop: () => void } | undefined;
  let parts: Awaited<ReturnType<typeof loadParts>> | undefined;
  let loading: Promise<void> | undefined;
  let isClosed = false;

  /** Listens to an orchestrator that is already open: from here on changes of lists are emitted even without a watch. */
  function attach(source: Source): void {
    if (isClosed || attached !== undefined) return;
    const stop = source.onChange((change) => {
      // Until the parts are loaded nothing is watched, so only lists can have changed.
      const events = parts?.events(change, counts.keys()) ?? listEvents(change);
      for (const event of events) for (const listener of listeners) listener(event);
    });
    attached = { source, stop };
  }

  /** Starts and stops the polling that the watched URIs need. */
  function adjust(): void {
    if (attached === undefined || parts === undefined) return;
    const needed = isClosed ? new Set() : parts.watched(counts.keys());
    for (const what of ["memory", "models"] as const) {
      if (needed.has(what)) {
        if (!polls.has(what)) polls.set(what, attached.source.watch(what));
      } else {
        polls.get(what)?.();
        polls.delete(what);
      }
    }
  }

  async function load(): Promise<void> {
    const [source, loaded] = await Promise.all([open(), loadParts()]);
    parts = loaded;
    attach(source);
  }

  /** When the orchestrator can't be opened, the next watch tries again. */
  function settle(): void {
    if (attached !== undefined && parts !== undefined) return adjust();
    loading ??= load()
      .then(adjust, (error: unknown) => log.warn(`watching: ${messageOf(error)}`))
      .finally(() => {
        loading = undefined;
      });
  }

  return {
    /**
     * Emits events for changes of `uris` until the returned function is called, and polls what must be polled for them.
     * Without URIs: changes of lists only.
     */
    watch(uris: readonly string[]) {
      for (const uri of uris) counts.set(uri, (counts.get(uri) ?? 0) + 1);
      if (!isClosed) settle();
      return once(() => {
        for (const uri of uris) {
          const left = (counts.get(uri) ?? 0) - 1;
          if (left > 0) counts.set(uri, left);
          else counts.delete(uri);
        }
        adjust();
      });
    },
    /** Calls `listener` with every event until the returned function is called, as the SDK's `ServerEventBus` does. */
    subscribe(listener: (event: ChangeEvent) => void) {
      const own = (event: ChangeEvent): void => listener(event);
      listeners.add(own);
      return () => void listeners.delete(own);
    },
    attach,
    /** Ends every watch; no more events are emitted. */
    close() {
      isClosed = true;
      adjust();
      attached?.stop();
      listeners.clear();
      counts.clear();
    },
  };
}

async function loadParts() {
  const [{ matchResource }, { resources }] = await Promise.all([
    import("../../resources/definition.ts"),
    import("../../resources/index.ts"),
  ]);
  return {
    /** Which of the URIs to read again, and which lists to request again. */
    events(change: Change, uris: Iterable<string>): readonly ChangeEvent[] {
      const touched = [...uris].filter((uri) => {
        const match = matchResource(resources, uri);
        return match?.definition.isTouchedBy?.(change, match.variables) === true;
      });
      return [...touched.map((uri): ChangeEvent => ({ kind: "resource_updated", uri })), ...listEvents(change)];
    },
    /** What must be polled every few seconds while the URIs are watched. */
    watched: (uris: Iterable<string>): ReadonlySet<"memory" | "models"> =>
      new Set([...uris].flatMap((uri) => matchResource(resources, uri)?.definition.watch ?? [])),
  };
}

/** A change as clients are notified of it, in the form of the SDK's `ServerEvent`. */
export type ChangeEvent =
  | { readonly kind: "resource_updated"; readonly uri: string }
  | { readonly kind: "resources_list_changed" | "prompts_list_changed" }
  | { readonly kind: "tools_list_changed" };

/** The lists to request again after a change. Templates are both prompts and resources. */
function listEvents(change: Change): readonly ChangeEvent[] {
  if (!("isListChanged" in change) || !change.isListChanged) return [];
  if (change.kind === "tools") return [{ kind: "tools_list_changed" }];
  const resources: ChangeEvent = { kind: "resources_list_changed" };
  return change.kind === "templates" ? [{ kind: "prompts_list_changed" }, resources] : [resources];
}

/** Change notifications for clients without a session; each session has its own feed. */
export function createStatelessSubscriptions(parts: Caller) {
  const feed = createChangeFeed(async () => (await parts.open()).orchestrator, parts.log);
  return {
    /** The source of events for the SDK's `subscriptions/listen` streams. */
    bus: {
      // Only the orchestrator reports changes.
      publish: () => undefined,
      subscribe: (listener: Parameters<ServerEventBus["subscribe"]>[0]) => feed.subscribe(listener),
    },
    /** Watches the URIs of a listen request while its answer is open; ignores other requests. */
    follow(body: unknown, answer: ServerResponse) {
      const uris = listenedUris(body);
      if (uris === undefined || answer.destroyed) return;
      answer.once("close", feed.watch(uris));
      // Changes of lists are reported even when no URI is watched.
      parts.open().then(
        ({ orchestrator }) => feed.attach(orchestrator),
        (reason: unknown) => parts.log.warn(`watching: ${messageOf(reason)}`),
      );
    },
    close: () => feed.close(),
  };
}

/** The URIs of a `subscriptions/listen` request, which is not validated yet; undefined for other requests. */
function listenedUris(body: unknown): readonly string[] | undefined {
  if (!isRecord(body) || body["method"] !== "subscriptions/listen") return undefined;
  const { notifications } = (body["params"] ?? {}) as { readonly notifications?: { resourceSubscriptions?: unknown } };
  const uris = notifications?.resourceSubscriptions;
  return Array.isArray(uris) ? uris.filter((uri) => typeof uri === "string") : [];
}

/**
 * Notifies a connection's client of changed tools. A change is about all callers, so a client that has listed its tools is
 * notified only if they differ. `facts` are those of the request that listed them.
 */
export function createToolWatch<Facts>(
  offered: (facts: Facts) => Promise<readonly string[]>,
  tell: () => Promise<void>,
): { listed(names: readonly string[], facts: Facts): void; changed(): Promise<void> } {
  let known: { readonly names: string; readonly facts: Facts } | undefined;
  return {
    listed(names, facts) {
      known = { names: names.join(" "), facts };
    },
    async changed() {
      if (known !== undefined) {
        const { facts, names } = known;
        const now = (await offered(facts)).join(" ");
        if (now === names) return;
        // One notification per difference, whether or not the client lists again.
        known = { facts, names: now };
      }
      await tell();
    },
  };
}

/** The open `subscriptions/listen` streams of one connection, which the SDK does not expose. */
export function createListenStreams() {
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

  return {
    /** Wraps the transport, to see streams as they are acknowledged and as they end. */
    tap(transport: Transport): Transport {
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
            for (const id of open.keys()) end(id);
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
    /** Calls `opened` with the URIs of each stream, and the function it returned when the stream ends. Replaces an earlier one. */
    onOpen(opened: typeof onStream): void {
      onStream = opened;
      for (const stream of open.values()) {
        stream.end();
        stream.end = opened(stream.uris);
      }
    },
  };
}
