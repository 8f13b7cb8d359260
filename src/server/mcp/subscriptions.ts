import { ProtocolError, ProtocolErrorCode, type Server, type ServerContext } from "@modelcontextprotocol/server";
import type { ChangeFeed } from "./change-feed.ts";
import { checkResource } from "./handle-resources.ts";
import type { Caller } from "../call/caller.ts";

/** Far more than there are models and jobs on a machine. */
const maxSubscriptions = 1_000;

/** Subscriptions end with the connection, when `feed` is closed. */
export function createSubscriptions(feed: ChangeFeed) {
  const stops = new Map<string, () => void>();

  return {
    /** Throws `ResourceNotFoundError` for a URI that does not exist. Subscribing twice has no further effect. */
    async subscribe(server: Server, context: ServerContext, uri: string, parts: Caller) {
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
    /** Does nothing for a URI without a subscription. */
    unsubscribe(uri: string) {
      stops.get(uri)?.();
      stops.delete(uri);
      return {};
    },
  };
}
