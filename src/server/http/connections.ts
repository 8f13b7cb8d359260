import type { Server } from "node:http";
import type { Socket } from "node:net";
import { commonHeaders, errorBody } from "./respond.ts";

export interface Connections {
  /** An approved request begins: the connection is not closed to make room while it runs. Returns how many run on it. */
  begin(socket: Socket): number;
  end(socket: Socket): void;
  count(): number;
}

/**
 * Limits connections to `max`, which is read with each new one. At the limit the oldest connection without a running
 * approved request is closed, those that never sent a token first, so that many idle or slow connections can't lock out
 * a caller with the token. When every connection has a running request, the new one gets a 503.
 */
export function limitConnections(server: Server, max: () => number): Connections {
  /** Socket → running approved requests; `undefined` before the first. Oldest first. */
  const open = new Map<Socket, number | undefined>();

  server.on("connection", (socket: Socket) => {
    if (open.size >= max() && !makeRoom()) {
      refuse(socket);
      return;
    }
    open.set(socket, undefined);
    socket.once("close", () => open.delete(socket));
  });

  function makeRoom(): boolean {
    const idle = firstWith(undefined) ?? firstWith(0);
    if (idle === undefined) return false;
    open.delete(idle);
    idle.destroy();
    return true;
  }

  function firstWith(running: number | undefined): Socket | undefined {
    for (const [socket, count] of open) if (count === running) return socket;
    return undefined;
  }

  return {
    begin(socket) {
      const running = (open.get(socket) ?? 0) + 1;
      if (open.has(socket)) open.set(socket, running);
      return running;
    },
    end(socket) {
      const running = open.get(socket);
      if (running !== undefined) open.set(socket, Math.max(0, running - 1));
    },
    count: () => open.size,
  };
}

function refuse(socket: Socket): void {
  const body = errorBody({ message: "too many connections; http.maxConnections allows no more" });
  const headers = Object.entries({
    ...commonHeaders,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "retry-after": 5,
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on("error", () => undefined);
  socket.end(`HTTP/1.1 503 Service Unavailable\r\n${headers.join("")}\r\n${body}`, () => socket.destroy());
}
