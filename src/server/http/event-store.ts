import type { EventStore, JSONRPCMessage } from "@modelcontextprotocol/server";

export interface EventStoreLimits {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** Room for a minute of progress of four calls, or a few long answers. */
const defaultLimits: EventStoreLimits = { maxEvents: 1_000, maxBytes: 2 * 1024 * 1024 };

/**
 * The events sent to one session, so that a client can resume a broken stream (`Last-Event-ID`). The oldest events are
 * dropped first, whatever their stream. The newest is kept even when it exceeds the limit by itself, since it may be the
 * answer that the client reconnects for.
 */
export function createEventStore(limits: EventStoreLimits = defaultLimits): EventStore {
  interface Stored {
    readonly number: number;
    readonly stream: string;
    readonly message: JSONRPCMessage;
    readonly bytes: number;
  }
  let events: Stored[] = [];
  let bytes = 0;
  let newest = 0;

  return {
    async storeEvent(stream, message) {
      newest += 1;
      const event = { number: newest, stream, message, bytes: JSON.stringify(message).length };
      events.push(event);
      bytes += event.bytes;
      let dropped = 0;
      while (events.length - dropped > 1 && (events.length - dropped > limits.maxEvents || bytes > limits.maxBytes)) {
        bytes -= events[dropped]?.bytes ?? 0;
        dropped += 1;
      }
      if (dropped > 0) events = events.slice(dropped);
      return `${stream}/${newest}`;
    },
    async getStreamIdForEventId(eventId) {
      const { stream } = parse(eventId);
      return events.some((event) => event.stream === stream) ? stream : undefined;
    },
    async replayEventsAfter(lastEventId, { send }) {
      const { stream, number } = parse(lastEventId);
      // A copy: the stream itself delivers events that arrive meanwhile.
      for (const event of events.filter((known) => known.stream === stream && known.number > number)) {
        // The event that opens a stream has an id and no message.
        if (Object.keys(event.message).length > 0) await send(`${stream}/${event.number}`, event.message);
      }
      return stream;
    },
  };
}

function parse(eventId: string): { readonly stream: string; readonly number: number } {
  const at = eventId.lastIndexOf("/");
  const number = Number(eventId.slice(at + 1));
  return { stream: eventId.slice(0, Math.max(at, 0)), number: Number.isSafeInteger(number) ? number : 0 };
}
