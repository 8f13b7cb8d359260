import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

/** A relay on 127.0.0.1, as a reverse proxy would stand before the door. */
export interface Relay {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Names the door; requests before that are answered with 503. */
  forwardTo(door: { readonly url: string; readonly token: string }): void;
  close(): void;
}

/**
 * The conformance runner can't send a token. The relay adds it and changes nothing else, neither Host nor Origin, so
 * that what the runner tries with those reaches the door as it was sent.
 */
export async function startRelay(): Promise<Relay> {
  let door: { readonly url: string; readonly token: string } | undefined;
  const server = createServer((incoming, outgoing) => {
    if (door === undefined) {
      outgoing.writeHead(503).end();
      return;
    }
    const { hostname, port } = new URL(door.url);
    const upstream = request({
      hostname,
      port,
      method: incoming.method,
      path: incoming.url,
      headers: [...incoming.rawHeaders, "Authorization", `Bearer ${door.token}`],
      agent: false,
    });
    upstream.on("response", (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
      answer.on("error", () => outgoing.destroy());
    });
    upstream.on("error", () => {
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(502).end();
    });
    outgoing.on("close", () => upstream.destroy());
    incoming.pipe(upstream);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    forwardTo: (given) => (door = given),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
