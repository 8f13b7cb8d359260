import {
  isInitializeRequest,
  WebStandardStreamableHTTPServerTransport,
  type Server,
} from "@modelcontextprotocol/server";
import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { Log } from "../../orchestrator/api/log.ts";
import { createEventStore } from "./event-store.ts";
import { errorBody } from "./respond.ts";
import { isTooMany, maxPendingRequests, observe, type Lease, type SessionSlots } from "./sessions.ts";

export interface SessionParts {
  /** A server for one session; `callerId` is not the session's id, which only its client knows. */
  makeServer(callerId: string): Server;
  readonly slots: SessionSlots;
  readonly log: Log;
}

export interface SessionRoute {
  /** `body` is parsed; undefined for GET and DELETE. `exchange` keeps the session alive until it closes. */
  handle(request: Request, body: unknown, exchange: ServerResponse): Promise<Response>;
  closeAll(): Promise<void>;
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
export function createStreamableRoute({ makeServer, slots, log }: SessionParts): SessionRoute {
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
    if (lease === undefined)
      return error(503, "too many sessions; http.maxSessions allows no more", { "retry-after": "30" });
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
    async handle(request, body, exchange) {
      const id = request.headers.get("mcp-session-id");
      if (id === null) {
        if (request.method === "POST" && isInitializeRequest(body)) return open(request, body, exchange);
        return error(400, "the Mcp-Session-Id header is missing; a session begins with initialize");
      }
      const session = sessions.get(id);
      if (session === undefined) return error(404, "no such session; begin a new one with initialize", {}, -32_001);
      if (request.method === "POST" && isTooMany(body, session.lease)) {
        return error(429, `at most ${maxPendingRequests} requests of a session may wait for their answers`);
      }
      return pass(session, request, body, exchange);
    },
    async closeAll() {
      await Promise.all([...sessions.values()].map(({ server }) => server.close()));
    },
  };
}

function error(status: number, message: string, headers: Record<string, string> = {}, code = -32_000): Response {
  return new Response(errorBody({ message, code }), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}
