import type { JSONRPCMessage } from "@modelcontextprotocol/server";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createEventStore } from "../../../src/server/http/streamable.ts";

const note = (text: string): JSONRPCMessage => ({ jsonrpc: "2.0", method: "note", params: { text } });

async function replayed(store: ReturnType<typeof createEventStore>, lastEventId: string): Promise<JSONRPCMessage[]> {
  const messages: JSONRPCMessage[] = [];
  await store.replayEventsAfter(lastEventId, {
    send: async (_id, message) => {
      messages.push(message);
    },
  });
  return messages;
}

describe("the events of a session", () => {
  it("after the last received one are sent again, in order, and only those of that stream", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom("one", "two", "three"), { minLength: 1, maxLength: 40 }),
        fc.nat(),
        async (streams, pick) => {
          const store = createEventStore({ maxEvents: 1_000, maxBytes: 1_000_000 });
          const ids: string[] = [];
          for (const [index, stream] of streams.entries()) ids.push(await store.storeEvent(stream, note(`${index}`)));
          const last = pick % streams.length;
          const later = streams.flatMap((stream, index) =>
            index > last && stream === streams[last] ? [note(`${index}`)] : [],
          );
          expect(await replayed(store, ids[last] ?? "")).toEqual(later);
          expect(await store.getStreamIdForEventId?.(ids[last] ?? "")).toBe(streams[last]);
        },
      ),
    );
  });

  it("take bounded memory: the oldest are dropped, the newest is kept even when it exceeds the limit by itself", async () => {
    const store = createEventStore({ maxEvents: 3, maxBytes: 1_000 });
    const first = await store.storeEvent("s", note("first"));
    for (const text of ["a", "b", "c"]) await store.storeEvent("s", note(text));
    expect(await replayed(store, first)).toEqual([note("a"), note("b"), note("c")]);
    const large = note("x".repeat(5_000));
    await store.storeEvent("s", large);
    expect(await replayed(store, first)).toEqual([large]);
  });

  it("of streams that are unknown, or of which nothing is left, are not sent again", async () => {
    const store = createEventStore({ maxEvents: 1, maxBytes: 1_000 });
    const old = await store.storeEvent("old", note("old"));
    await store.storeEvent("new", note("new"));
    for (const id of [old, "", "/", "nonsense", "other/1", "new", "../new/0"]) {
      expect(await store.getStreamIdForEventId?.(id), id).toBeUndefined();
    }
  });

  it("leave out the one that only opens a stream", async () => {
    const store = createEventStore();
    const opening = await store.storeEvent("s", {} as JSONRPCMessage);
    const answer = note("answer");
    await store.storeEvent("s", answer);
    expect(await replayed(store, opening)).toEqual([answer]);
  });
});
