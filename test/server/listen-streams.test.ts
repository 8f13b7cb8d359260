import { SUBSCRIPTION_ID_META_KEY, type JSONRPCMessage, type Transport } from "@modelcontextprotocol/server";
import { describe, expect, it } from "vitest";
import { createListenStreams } from "../../src/server/mcp/change-feed.ts";

/** A connection whose messages the test writes itself, and the streams that are seen on it. */
function connection() {
  const transport: Transport = {
    start: () => Promise.resolve(),
    send: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const listenStreams = createListenStreams();
  const tapped = listenStreams.tap(transport);
  void tapped.start();
  const open: (readonly string[])[] = [];
  listenStreams.onOpen((uris) => {
    open.push(uris);
    return () => void open.splice(open.indexOf(uris), 1);
  });
  const receive = (message: JSONRPCMessage): void => transport.onmessage?.(message);
  return {
    open,
    listenStreams,
    close: () => transport.onclose?.(),
    ask: (id: number) => receive({ jsonrpc: "2.0", id, method: "subscriptions/listen", params: {} }),
    cancel: (requestId: number) =>
      receive({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId } }),
    acknowledge: (id: number, ...resourceSubscriptions: string[]) =>
      tapped.send({
        jsonrpc: "2.0",
        method: "notifications/subscriptions/acknowledged",
        params: { _meta: { [SUBSCRIPTION_ID_META_KEY]: id }, notifications: { resourceSubscriptions } },
      }),
    answer: (id: number) => tapped.send({ jsonrpc: "2.0", id, result: {} }),
  };
}

describe("listen streams on a connection", () => {
  it("are open from their acknowledgement until they are cancelled", async () => {
    const { open, ask, acknowledge, cancel } = connection();
    ask(1);
    expect(open).toEqual([]);
    await acknowledge(1, "ollm://models");
    expect(open).toEqual([["ollm://models"]]);
    cancel(2);
    expect(open).toHaveLength(1);
    cancel(1);
    expect(open).toEqual([]);
  });

  it("are never open when they were cancelled before they were acknowledged", async () => {
    const { open, ask, acknowledge, cancel } = connection();
    ask(1);
    cancel(1);
    await acknowledge(1, "ollm://models");
    expect(open).toEqual([]);
  });

  it("end with the answer to their request, and with the connection", async () => {
    const { open, ask, acknowledge, answer, close } = connection();
    for (const id of [1, 2, 3]) {
      ask(id);
      await acknowledge(id, `ollm://models/${id}`);
    }
    await answer(2);
    expect(open).toEqual([["ollm://models/1"], ["ollm://models/3"]]);
    close();
    expect(open).toEqual([]);
  });

  it("are reported to the last listener", async () => {
    const { open, ask, acknowledge, listenStreams } = connection();
    ask(1);
    await acknowledge(1, "ollm://models");
    const later: (readonly string[])[] = [];
    listenStreams.onOpen((uris) => {
      later.push(uris);
      return () => undefined;
    });
    expect(open).toEqual([]);
    expect(later).toEqual([["ollm://models"]]);
  });
});
