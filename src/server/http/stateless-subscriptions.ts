import type { ServerEventBus } from "@modelcontextprotocol/server";
import type { ServerResponse } from "node:http";
import { createChangeFeed } from "../change-feed.ts";
import type { ServerParts } from "../server-parts.ts";

export interface StatelessSubscriptions {
  /** What the SDK's `subscriptions/listen` streams hear. */
  readonly bus: ServerEventBus;
  /** Looks at what a request listens to for as long as its answer is open; nothing for other requests. */
  follow(body: unknown, answer: ServerResponse): void;
  close(): void;
}

/** Change notifications for clients without a session; each session has its own feed. */
export function createStatelessSubscriptions(parts: ServerParts): StatelessSubscriptions {
  const feed = createChangeFeed(async () => (await parts.open()).orchestrator, parts.log);
  return {
    bus: {
      // The orchestrator alone says what has changed.
      publish: () => undefined,
      subscribe: (listener) => feed.subscribe(listener),
    },
    follow(body, answer) {
      const uris = listenedUris(body);
      if (uris === undefined || answer.destroyed) return;
      answer.once("close", feed.watch(uris));
      // Lists are told of too, whether or not an address is watched.
      parts.open().then(
        ({ orchestrator }) => feed.attach(orchestrator),
        (error: unknown) => parts.log.warn(`watching: ${error instanceof Error ? error.message : String(error)}`),
      );
    },
    close: () => feed.close(),
  };
}

/** Of a `subscriptions/listen` request, which the SDK has not checked yet; undefined for anything else. */
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
