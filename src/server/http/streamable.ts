import { randomUUID } from "node:crypto";
import type { ServerResponse, IncomingMessage } from "node:http";
import {
  type EventStore,
  type JSONRPCMessage,
  type RequestId,
  type Server,
  WebStandardStreamableHTTPServerTransport,
  isInitializeRequest,
} from "@modelcontextprotocol/server";
import type { Log } from "../../orchestrator/api/log.ts";
import { errorBody, answerError, commonHeaders, watchReader, type StreamLimits } from "./respond.ts";
import { isRecord } from "../../orchestrator/util/values.ts";
import type { Timers } from "../../orchestrator/util/timers.ts";

interface SessionParts {
  /** A server for one session; `callerId` is not the session's id, which only its client knows. */
  makeServer(callerId: string): Server;
  readonly slots: ReturnType<typeof createSessionSlots>;
  readonly log: Log;
}

/** Limit of running requests per session; more are rejected with 429. */
const maxPendingRequests = 256;

const tooManySessions = {
  status: 503,
  message: "too many sessions; the server allows no more",
  headers: { "retry-after": "30" },
};
const tooManyRequests = {
  status: 429,
  message: `at most ${maxPendingRequests} requests of a session may wait for their answers`,
};

/** Whether a body's requests exceed the limit of its session. Notifications and answers always fit. */
function isTooMany(body: unknown, lease: Pick<Lease, "pending">): boolean {
  const requests = [body].flat().filter((message) => isRecord(message) && "method" in message && "id" in message);
  return requests.length > 0 && lease.pending() + requests.length > maxPendingRequests;
}

interface Session {
  readonly server: Server;
  readonly transport: WebStandardStreamableHTTPServerTransport;
  readonly lease: Lease;
}

/**
 * Streamable HTTP up to 2025-11-25, with a server and a transport per session, so that no session sees another's
 * messages. `initialize` starts a session with an id that we generate; other ids are unknown. `Last-Event-ID` replays what
 * a session was sent, as far as the event store still has it.
 */
export function createStreamableRoute({ makeServer, slots, log }: SessionParts) {
  const sessions = new Map<string, Session>();

  async function open(request: Request, body: unknown, exchange: ServerResponse): Promise<Response> {
    const id = randomUUID();
    const lease = slots.take((why) => {
      log.info(`http: a session ended: ${why}`);
      sessions
        .get(id)
        ?.server.close()
        .catch(() => undefined);
    });
    if (lease === undefined) return error(tooManySessions);
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => id,
      eventStore: createEventStore(),
    });
    const server = makeServer(`http-${randomUUID()}`);
    const session: Session = { server, transport, lease };
    // Counts as busy until its first request is passed on.
    const opened = lease.exchange();
    try {
      await server.connect(transport);
      observe(transport, lease, () => sessions.delete(id));
      sessions.set(id, session);
      const response = await pass(session, request, body, exchange);
      // Without a valid `initialize` there is no session.
      if (transport.sessionId === undefined) await server.close();
      return response;
    } catch (failure) {
      lease.release();
      sessions.delete(id);
      throw failure;
    } finally {
      opened();
    }
  }

  function pass({ transport, lease }: Session, request: Request, body: unknown, exchange: ServerResponse) {
    const end = lease.exchange();
    if (exchange.destroyed) end();
    else exchange.once("close", end);
    return transport.handleRequest(request, body === undefined ? {} : { parsedBody: body });
  }

  return {
    /** `body` is parsed; undefined for GET and DELETE. `exchange` keeps the session alive until it closes. */
    async handle(request: Request, body: unknown, exchange: ServerResponse) {
      const id = request.headers.get("mcp-session-id");
      if (id === null) {
        if (request.method === "POST" && isInitializeRequest(body)) return open(request, body, exchange);
        return error({
          status: 400,
          message: "the Mcp-Session-Id header is missing; a session begins with initialize",
        });
      }
      const session = sessions.get(id);
      if (session === undefined)
        return error({ status: 404, message: "no such session; begin a new one with initialize", code: -32_001 });
      if (request.method === "POST" && isTooMany(body, session.lease)) return error(tooManyRequests);
      return pass(session, request, body, exchange);
    },
    async closeAll() {
      await Promise.all([...sessions.values()].map(({ server }) => server.close()));
    },
  };
}

function error(answer: Parameters<typeof answerError>[2]): Response {
  const headers = { "content-type": "application/json", ...answer.headers };
  return new Response(errorBody(answer), { status: answer.status, headers });
}

/** Room for a minute of progress of four calls, or a few long answers. */
const defaultLimits = { maxEvents: 1_000, maxBytes: 2 * 1024 * 1024 };

/**
 * The events sent to one session, so that a client can resume a broken stream (`Last-Event-ID`). The oldest events are
 * dropped first, whatever their stream. The newest is kept even when it exceeds the limit by itself, since it may be the
 * answer that the client reconnects for.
 */
export function createEventStore(limits = defaultLimits): EventStore {
  interface Stored {
    readonly number: number;
    readonly stream: string;
    readonly message: JSONRPCMessage;
    readonly bytes: number;
  }
  let events: Stored[] = [];
  let bytes = 0;
  let newest = 0;

  return {
    async storeEvent(stream, message) {
      newest += 1;
      const event = { number: newest, stream, message, bytes: JSON.stringify(message).length };
      events.push(event);
      bytes += event.bytes;
      let dropped = 0;
      while (events.length - dropped > 1 && (events.length - dropped > limits.maxEvents || bytes > limits.maxBytes)) {
        bytes -= events[dropped]?.bytes ?? 0;
        dropped += 1;
      }
      if (dropped > 0) events = events.slice(dropped);
      return `${stream}/${newest}`;
    },
    async getStreamIdForEventId(eventId) {
      const { stream } = parse(eventId);
      return events.some((event) => event.stream === stream) ? stream : undefined;
    },
    async replayEventsAfter(lastEventId, { send }) {
      const { stream, number } = parse(lastEventId);
      // A copy: the stream itself delivers events that arrive meanwhile.
      for (const event of events.filter((known) => known.stream === stream && known.number > number)) {
        // The event that opens a stream has an id and no message.
        if (Object.keys(event.message).length > 0) await send(`${stream}/${event.number}`, event.message);
      }
      return stream;
    },
  };
}

function parse(eventId: string): { readonly stream: string; readonly number: number } {
  const at = eventId.lastIndexOf("/");
  const number = Number(eventId.slice(at + 1));
  return { stream: eventId.slice(0, Math.max(at, 0)), number: Number.isSafeInteger(number) ? number : 0 };
}

/** Proxies and clients drop silent streams. */
const keepAliveMs = 15_000;

/**
 * HTTP+SSE of revision 2024-11-05, for old clients, on the transport of SDK version 1, which is loaded with the first such
 * client. A session lives as long as its stream.
 */
export function createLegacySseRoute({ makeServer, slots, log }: SessionParts, limits: StreamLimits) {
  const sessions = new Map<
    string,
    { readonly server: Server; readonly lease: Lease; receive(message: unknown): Promise<void> }
  >();

  return {
    /** `GET /sse`: opens the stream, which is the session. */
    async open(request: IncomingMessage, response: ServerResponse) {
      const lease = slots.take(() => response.destroy());
      if (lease === undefined) return answerError(request, response, tooManySessions);
      lease.exchange();
      try {
        const { SSEServerTransport } = await import("@modelcontextprotocol/sdk/server/sse.js");
        for (const [name, value] of Object.entries(commonHeaders)) response.setHeader(name, value);
        const transport = new SSEServerTransport("/messages", response);
        const id = transport.sessionId;
        const server = makeServer(`sse-${randomUUID()}`);
        const watcher = watchReader(response, limits, (why) => log.warn(`http: a stream was cut: ${why}`));
        const timer = setInterval(() => watcher.hasRoom() && response.write(": keepalive\n\n"), keepAliveMs);
        timer.unref();
        await server.connect(transport);
        const onClosed = (): void => {
          clearInterval(timer);
          watcher.close();
          sessions.delete(id);
        };
        observe(transport, lease, onClosed, () => watcher.hasRoom());
        sessions.set(id, { server, lease, receive: (message) => transport.handleMessage(message) });
        if (response.destroyed) await server.close();
      } catch (failure) {
        lease.release();
        throw failure;
      }
    },
    /** `POST /messages?sessionId=...` with its parsed body. */
    async post(request: IncomingMessage, response: ServerResponse, sessionId: string | null, body: unknown) {
      const session = sessions.get(sessionId ?? "");
      if (session === undefined) {
        const message = "no such session; open /sse first";
        return answerError(request, response, { status: 404, code: -32_001, message });
      }
      if (isTooMany(body, session.lease)) return answerError(request, response, tooManyRequests);
      try {
        await session.receive(body);
      } catch {
        const message = "not a valid JSON-RPC 2.0 message";
        return answerError(request, response, { status: 400, code: -32_600, message });
      }
      response.writeHead(202, commonHeaders).end("Accepted");
    },
    async closeAll() {
      await Promise.all([...sessions.values()].map(({ server }) => server.close()));
    },
  };
}

/** The slot of one open session, which tracks its traffic. */
interface Lease {
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
function observe(
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
