import {
  ProtocolError,
  ProtocolErrorCode,
  type EmptyResult,
  type Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { ChangeFeed } from "./change-feed.ts";
import { checkResource } from "./handle-resources.ts";
import type { Caller } from "../call/caller.ts";

/** The subscriptions of one legacy connection, by URI. */
interface Subscriptions {
  /** Throws `ResourceNotFoundError` for a URI that does not exist. Subscribing twice has no further effect. */
  subscribe(server: Server, context: ServerContext, uri: string, parts: Caller): Promise<EmptyResult>;
  /** Does nothing for a URI without a subscription. */
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
          `this connection already has ${maxSubscriptions} subscriptions; end some with resources/unsubscribe`,
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
