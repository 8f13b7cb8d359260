import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

/** A reverse proxy on 127.0.0.1 in front of the HTTP server. */
export interface Relay {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Names the HTTP server; requests before that are answered with 503. */
  forwardTo(listener: { readonly url: string; readonly token: string }): void;
  close(): void;
}

/**
 * The conformance runner can't send a token. The relay adds it and changes nothing else, so that Host and Origin reach the
 * server as the runner sent them.
 */
export async function startRelay(): Promise<Relay> {
  let listener: { readonly url: string; readonly token: string } | undefined;
  const server = createServer((incoming, outgoing) => {
    if (listener === undefined) {
      outgoing.writeHead(503).end();
      return;
    }
    const { hostname, port } = new URL(listener.url);
    const upstream = request({
      hostname,
      port,
      method: incoming.method,
      path: incoming.url,
      headers: [...incoming.rawHeaders, "Authorization", `Bearer ${listener.token}`],
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
    forwardTo: (given) => (listener = given),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
