import type { EventSourceMessage } from "eventsource-parser";
import { eventsOf } from "./mcp.ts";
import type { Entry } from "./session.ts";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "connected" }
  | {
      readonly state: "reconnecting";
      readonly sinceMs: number;
      readonly tries: number;
      /** Another program listens at the page's address. */
      readonly isForeign: boolean;
    };

interface LiveParts {
  readonly fetch: typeof fetch;
  readonly entry: () => Promise<Entry>;
  /** Called when a connection has ended: the next listener has to prove itself. */
  readonly doubt: () => void;
  readonly now: () => number;
  readonly random: () => number;
  /** Resolves after a time, or at once when `signal` aborts. */
  readonly wait: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  readonly onConnection: (connection: Connection) => void;
  readonly onEvent: (event: EventSourceMessage) => void;
  /** Called when the session has ended; the stream has, too. */
  readonly onRefused: () => void;
}

const firstDelayMs = 250;
const longestDelayMs = 8_000;

/** Milliseconds before the given try (1 is the first after a break): doubled each time, and up to a half shorter by chance. */
export function reconnectDelayMs(tries: number, random: number): number {
  const full = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(tries - 1, 30));
  return Math.round(full * (1 - random / 2));
}

/** The stream of live events. It reconnects until it is stopped, or until the session has ended. */
export function createLiveStream(parts: LiveParts) {
  const { fetch, entry, doubt, now, random, wait, onConnection, onEvent, onRefused } = parts;
  const stopped = new AbortController();
  let waiting = new AbortController();

  /** One connection, until it ends: `failed` if nothing came of it. */
  async function follow(): Promise<"refused" | "foreign" | "failed" | "ended"> {
    const entered = await entry();
    if (entered.kind === "ended") return "refused";
    if (entered.kind !== "bearer") return entered.kind === "foreign" ? "foreign" : "failed";
    let isConnected = false;
    try {
      const response = await fetch("/dashboard/events", {
        headers: { authorization: `Bearer ${entered.bearer}`, accept: "text/event-stream" },
        signal: stopped.signal,
      });
      if (!response.ok || response.body === null) return "failed";
      for await (const event of eventsOf(response.body)) {
        if (!isConnected) onConnection({ state: "connected" });
        isConnected = true;
        onEvent(event);
      }
    } catch {
      // A daemon that exits breaks the connection: the next try finds its successor.
    } finally {
      doubt();
    }
    return isConnected ? "ended" : "failed";
  }

  return {
    /** Resolves when the stream is stopped or refused. */
    async run(): Promise<void> {
      let sinceMs = 0;
      let tries = 0;
      onConnection({ state: "connecting" });
      while (!stopped.signal.aborted) {
        const outcome = await follow();
        if (outcome === "refused") return onRefused();
        if (stopped.signal.aborted) return;
        if (outcome === "ended") tries = 0;
        if (tries === 0) sinceMs = now();
        tries += 1;
        onConnection({ state: "reconnecting", sinceMs, tries, isForeign: outcome === "foreign" });
        waiting = new AbortController();
        await wait(reconnectDelayMs(tries, random()), AbortSignal.any([stopped.signal, waiting.signal]));
      }
    },
    /** Ends the wait before the next try. */
    retryNow: () => waiting.abort(),
    stop: () => stopped.abort(),
  };
}
