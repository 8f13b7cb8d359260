import {
  ProtocolError,
  ProtocolErrorCode,
  type EmptyResult,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { ChangeFeed } from "./change-feed.ts";
import { checkResource } from "./handle-resources.ts";
import type { ServerParts } from "./server-parts.ts";

/** What one legacy connection has subscribed to, one address at a time. */
export interface Subscriptions {
  /** Throws `ResourceNotFoundError` for an address that does not exist. Twice is as good as once. */
  subscribe(server: Server, context: ServerContext, uri: string, parts: ServerParts): Promise<EmptyResult>;
  /** Of what was never subscribed to: nothing happens. */
  unsubscribe(uri: string): EmptyResult;
}

/** Far more than there are models and jobs on a machine. */
const maxSubscriptions = 1_000;

/** Subscriptions end with the connection, when `feed` is closed. */
export function createSubscriptions(feed: ChangeFeed): Subscriptions {
  const stops = new Map<string, () => void>();

  return {
    async subscribe(server, context, uri, parts) {
      await checkResource(server, context, uri, parts);
      if (stops.has(uri)) return {};
      if (stops.size >= maxSubscriptions) {
        throw new ProtocolError(
          ProtocolErrorCode.InvalidParams,
          `this connection has ${maxSubscriptions} subscriptions already; end some with resources/unsubscribe`,
        );
      }
      stops.set(uri, feed.watch([uri]));
      return {};
    },
    unsubscribe(uri) {
      stops.get(uri)?.();
      stops.delete(uri);
      return {};
    },
  };
}
