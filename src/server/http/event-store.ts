import type { EventStore, JSONRPCMessage } from "@modelcontextprotocol/server";

export interface EventStoreLimits {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** A minute of progress of four calls at once, or a few long answers. */
const defaultLimits: EventStoreLimits = { maxEvents: 1_000, maxBytes: 2 * 1024 * 1024 };

/**
 * What one session was sent, so that a client whose connection broke can go on where it was (`Last-Event-ID`). The
 * oldest events give way, whatever their stream; the newest is kept even when it alone is over the limit, since it may
 * be the answer that the client came back for.
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
      // A copy: events that come while we send are delivered by the stream itself.
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
