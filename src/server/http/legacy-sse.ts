import type { Server } from "@modelcontextprotocol/server";
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { answerError, commonHeaders, watchReader, type StreamLimits } from "./respond.ts";
import { isTooMany, maxPendingRequests, observe, type Lease } from "./sessions.ts";
import type { SessionParts } from "./streamable.ts";

/** Proxies and clients drop silent streams. */
const keepAliveMs = 15_000;

interface Session {
  readonly server: Server;
  readonly lease: Lease;
  receive(message: unknown): Promise<void>;
}

/**
 * HTTP+SSE of revision 2024-11-05, for old clients, on the transport of SDK version 1, which is loaded with the first such
 * client. A session lives as long as its stream.
 */
export function createLegacySseRoute({ makeServer, slots, log }: SessionParts, limits: StreamLimits) {
  const sessions = new Map<string, Session>();

  return {
    /** `GET /sse`: opens the stream, which is the session. */
    async open(request: IncomingMessage, response: ServerResponse) {
      const lease = slots.take(() => response.destroy());
      if (lease === undefined) {
        answerError(request, response, {
          status: 503,
          message: "too many sessions; the server allows no more",
          headers: { "retry-after": "30" },
        });
        return;
      }
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
        sessions.set(id, {
          server,
          lease,
          receive: (message) => transport.handleMessage(message),
        });
        if (response.destroyed) await server.close();
      } catch (error) {
        lease.release();
        throw error;
      }
    },
    knows: (sessionId: string | null) => sessions.has(sessionId ?? ""),
    /** `POST /messages?sessionId=...` with its parsed body. */
    async post(request: IncomingMessage, response: ServerResponse, sessionId: string | null, body: unknown) {
      const session = sessions.get(sessionId ?? "");
      if (session === undefined) {
        answerError(request, response, { status: 404, code: -32_001, message: "no such session; open /sse first" });
        return;
      }
      if (isTooMany(body, session.lease)) {
        const message = `at most ${maxPendingRequests} requests of a session may wait for their answers`;
        answerError(request, response, { status: 429, message });
        return;
      }
      try {
        await session.receive(body);
      } catch {
        answerError(request, response, { status: 400, code: -32_600, message: "not a valid JSON-RPC 2.0 message" });
        return;
      }
      response.writeHead(202, commonHeaders).end("Accepted");
    },
    async closeAll() {
      await Promise.all([...sessions.values()].map(({ server }) => server.close()));
    },
  };
}
