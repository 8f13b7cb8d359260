import { describe, expect, it } from "vitest";
import { answer, createRecorded, failure, line, notice, request } from "./recorded-relay.ts";

const initialize = request(0, "initialize", { protocolVersion: "2025-11-25" });
const call = (id: number) => request(id, "tools/call", { name: "route_and_generate", arguments: {} });

/** A client: it has waited for the answer to its handshake. */
function createClient() {
  const all = createRecorded();
  all.client(initialize);
  all.daemon(answer(0));
  all.seen();
  return all;
}

describe("the relay when its client ends (13)", () => {
  it("ends at once when nothing but listens is open", () => {
    const { relay, client, daemon, seen } = createClient();
    client(request("l", "subscriptions/listen", { notifications: {} }));
    daemon(
      notice("notifications/subscriptions/acknowledged", { _meta: { "io.modelcontextprotocol/subscriptionId": "l" } }),
    );
    seen();
    relay.clientEnd();
    expect(seen()).toEqual([["drain", 1_500], ["end"]]);
  });

  it("waits for the last answer", () => {
    const { relay, client, daemon, seen } = createClient();
    client(call(1));
    relay.clientEnd();
    daemon(answer(1));
    expect(seen()).toEqual([[">", call(1)], ["drain", 1_500], ["<", answer(1)], ["end"]]);
  });

  it("ends when the time is over, and starts no other daemon", () => {
    const { relay, client, seen } = createClient();
    client(call(1));
    relay.clientEnd();
    relay.drained();
    relay.daemonGone(0);
    expect(seen()).toEqual([[">", call(1)], ["drain", 1_500], ["end"]]);
  });

  it("sets no time limit for a script, which waits for its answers however long they take", () => {
    const { relay, client, daemon, seen } = createRecorded();
    client(initialize);
    client(call(1));
    daemon(answer(0));
    seen();
    relay.clientEnd();
    expect(seen()).toEqual([]);
    daemon(answer(1));
    expect(seen()).toEqual([
      ["<", answer(1)],
      ["end", "awaited"],
    ]);
  });

  it("answers a script whose daemon is being started, and reports if there is none", () => {
    const { relay, client, daemon, seen } = createRecorded({ isConnected: false });
    client(call(1));
    relay.clientEnd();
    relay.connected();
    daemon(answer(1));
    expect(seen()).toEqual([
      [">", call(1)],
      ["<", answer(1)],
      ["end", "awaited"],
    ]);

    const recorded = createRecorded({ isConnected: false });
    recorded.client(call(1));
    recorded.relay.clientEnd();
    recorded.relay.failed(failure("no daemon"));
    expect(recorded.seen()).toMatchObject([
      ["<", { id: 1, error: { message: "no daemon" } }],
      ["end", "awaited"],
    ]);
  });

  it.each(["sent", "waiting"])("waits for no answer to a %s line that isn't JSON between its edges", (state) => {
    const { relay, client, daemon, seen } = createRecorded({ isConnected: state === "sent" });
    relay.clientLine(line('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{oops}}'));
    client(request(2, "tools/list"));
    relay.clientEnd();
    if (state === "waiting") relay.connected();
    daemon(answer(2));
    expect(seen().slice(2)).toEqual([
      ["<", answer(2)],
      ["end", "awaited"],
    ]);
  });

  it("finds another daemon for a script's open reads, and reports a lost call", () => {
    const { relay, client, daemon, seen } = createRecorded();
    client(request(1, "tools/list"));
    client(call(2));
    relay.clientEnd();
    seen();
    relay.daemonGone(0);
    expect(seen()).toMatchObject([
      ["<", { id: 2, error: { data: { retryable: true } } }],
      ["connect", 0],
    ]);
    relay.connected();
    daemon(answer(1));
    expect(seen()).toEqual([
      [">", request(1, "tools/list")],
      ["<", answer(1)],
      ["end", "awaited"],
    ]);
  });

  it("ends when the daemon of a script is gone and nothing is open", () => {
    const { relay, client, seen } = createRecorded();
    client(call(1));
    relay.clientEnd();
    seen();
    relay.daemonGone(0);
    expect(seen()).toMatchObject([
      ["<", { id: 1, error: {} }],
      ["end", "awaited"],
    ]);
  });
});
