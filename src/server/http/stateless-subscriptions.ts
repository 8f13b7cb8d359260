import type { ServerEventBus } from "@modelcontextprotocol/server";
import type { ServerResponse } from "node:http";
import { createChangeFeed } from "../mcp/change-feed.ts";
import type { ServerParts } from "../daemon/server-parts.ts";

export interface StatelessSubscriptions {
  /** The source of events for the SDK's `subscriptions/listen` streams. */
  readonly bus: ServerEventBus;
  /** Watches the URIs of a listen request while its answer is open; ignores other requests. */
  follow(body: unknown, answer: ServerResponse): void;
  close(): void;
}

/** Change notifications for clients without a session; each session has its own feed. */
export function createStatelessSubscriptions(parts: ServerParts): StatelessSubscriptions {
  const feed = createChangeFeed(async () => (await parts.open()).orchestrator, parts.log);
  return {
    bus: {
      // Only the orchestrator reports changes.
      publish: () => undefined,
      subscribe: (listener) => feed.subscribe(listener),
    },
    follow(body, answer) {
      const uris = listenedUris(body);
      if (uris === undefined || answer.destroyed) return;
      answer.once("close", feed.watch(uris));
      // Changes of lists are reported even when no URI is watched.
      parts.open().then(
        ({ orchestrator }) => feed.attach(orchestrator),
        (error: unknown) => parts.log.warn(`watching: ${error instanceof Error ? error.message : String(error)}`),
      );
    },
    close: () => feed.close(),
  };
}

/** The URIs of a `subscriptions/listen` request, which is not validated yet; undefined for other requests. */
function listenedUris(body: unknown): readonly string[] | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { method, params } = body as {
    readonly method?: unknown;
    readonly params?: { readonly notifications?: { readonly resourceSubscriptions?: unknown } | null } | null;
  };
  if (method !== "subscriptions/listen") return undefined;
  const uris = params?.notifications?.resourceSubscriptions;
  return Array.isArray(uris) ? uris.filter((uri) => typeof uri === "string") : [];
}
