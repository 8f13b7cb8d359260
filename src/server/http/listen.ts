import { lookup as systemLookup } from "node:dns/promises";
import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { InvalidRequest } from "../../orchestrator/api/errors.ts";
import { type NextStep, type NextSteps, advice } from "../../orchestrator/api/next-step.ts";
import { isLoopback } from "./policy.ts";
import { commonHeaders, errorBody } from "./respond.ts";
import { codeOf } from "../../orchestrator/util/values.ts";

export interface ListenOptions {
  /** Address to listen on: `127.0.0.1`. A name is resolved once, and the address that was checked is the one listened on. */
  readonly bind: string;
  /** 0 picks a free port. */
  readonly port: number;
  /**
   * Serves every caller that passes the lists of Host and Origin; on loopback addresses only, so that a `localhost` which
   * other machines can reach is refused, too.
   */
  readonly isWithoutToken?: boolean;
  /** Resolves the name in `bind`; the system's lookup when absent. */
  readonly lookup?: (host: string) => Promise<{ readonly address: string }>;
}

const loopback: NextStep = { step: "setArgument", argument: "bind", to: "127.0.0.1" };
const ownAddress: NextSteps = [loopback, advice("use an address of this machine")];

/** Starts listening. Throws `InvalidRequest` with the reason when the address can't be used. */
export async function listen(server: Server, options: ListenOptions): Promise<void> {
  const { bind, port, lookup = systemLookup } = options;
  const name = bind.trim().replace(/^\[|\]$/g, "");
  // The system would listen on every address.
  if (name === "") throw new InvalidRequest("the address to bind to is empty", { next: loopback });
  try {
    const { address } = await lookup(name);
    if (options.isWithoutToken === true && !isLoopback(address)) {
      const where = address === name ? bind : `${bind} (${address})`;
      throw new InvalidRequest(`listening on ${where} needs a token: other machines can reach it`, {
        next: [{ step: "omitArgument", argument: "noToken" }, loopback],
      });
    }
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: address, port, exclusive: true }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    if (error instanceof InvalidRequest) throw error;
    const code = codeOf(error) ?? "unknown error";
    const why: Readonly<Record<string, readonly [string, NextSteps]>> = {
      EADDRINUSE: ["is already in use", { step: "changeArgument", argument: "port", because: "0 picks a free one" }],
      EACCES: ["may not be used by this user", { step: "raiseArgument", argument: "port", to: 1_024 }],
      EADDRNOTAVAIL: ["is not an address of this machine", ownAddress],
      ENOTFOUND: ["is not an address of this machine", ownAddress],
      EAI_AGAIN: ["is not an address of this machine", ownAddress],
    };
    const [fact, next] = why[code] ?? [`can't be listened on (${code})`, advice("choose another address or port")];
    throw new InvalidRequest(`${bind} port ${port} ${fact}`, { next, cause: error });
  }
}

/** A request that is being answered. */
interface Running {
  readonly response: ServerResponse;
  /** Its caller has shown the token or a session. */
  readonly isApproved: boolean;
}

/** Running requests of callers who showed nothing, on all connections; a page asks in milliseconds. */
const maxOpenRequests = 16;

/**
 * Limits connections to `max`, which is read with each new one. At the limit the oldest connection without a running
 * approved request is closed, those that never sent a token first, so that many idle or slow connections can't lock out
 * a caller with the token. When every connection has a running approved request, the new one gets a 503.
 *
 * Requests that need no token: some run at once, the next one closes the oldest.
 */
export function limitConnections(server: Server, max: () => number) {
  /** Oldest first. */
  const open = new Map<Socket, { readonly running: Set<Running>; isApproved: boolean }>();
  /** Oldest first. */
  const unapproved = new Set<Running>();

  server.on("connection", (socket: Socket) => {
    if (open.size >= max() && !makeRoom()) return refuse(socket);
    open.set(socket, { running: new Set(), isApproved: false });
    socket.once("close", () => open.delete(socket));
  });

  function makeRoom(): boolean {
    const idle = firstIdle(false) ?? firstIdle(true);
    if (idle === undefined) return false;
    open.delete(idle);
    idle.destroy();
    return true;
  }

  /** The oldest of those that were approved before, or of the others. */
  function firstIdle(wasApproved: boolean): Socket | undefined {
    for (const [socket, { running, isApproved }] of open) {
      if (isApproved === wasApproved && ![...running].some((each) => each.isApproved)) return socket;
    }
    return undefined;
  }

  return {
    /** A request begins on the connection; its end is seen. Returns how many run on it. */
    begin(socket: Socket, request: Running) {
      const connection = open.get(socket);
      connection?.running.add(request);
      if (connection !== undefined && request.isApproved) connection.isApproved = true;
      if (!request.isApproved) {
        const [oldest] = unapproved;
        if (oldest !== undefined && unapproved.size >= maxOpenRequests) {
          unapproved.delete(oldest);
          oldest.response.destroy();
        }
        unapproved.add(request);
      }
      request.response.once("close", () => {
        connection?.running.delete(request);
        unapproved.delete(request);
      });
      return connection?.running.size ?? 1;
    },
  };
}

function refuse(socket: Socket): void {
  const body = errorBody({ message: "too many connections; the server allows no more" });
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
