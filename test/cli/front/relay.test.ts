import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Relay } from "../../../src/cli/front/relay.ts";
import { answer, createRecorded, failure, line, notice, request } from "./recorded-relay.ts";

const initialize = request(0, "initialize", { protocolVersion: "2025-11-25" });
const initialized = notice("notifications/initialized");
const call = (id: number, name = "route_and_generate") => request(id, "tools/call", { name, arguments: {} });
const listen = request("l", "subscriptions/listen", { notifications: {} });
const acknowledged = notice("notifications/subscriptions/acknowledged", {
  _meta: { "io.modelcontextprotocol/subscriptionId": "l" },
});
const retryable = (id: number, message: unknown = expect.any(String)) => [
  "<",
  { jsonrpc: "2.0", id, error: { code: -32000, message, data: { retryable: true } } },
];

function withHandshake() {
  const all = createRecorded();
  all.client(initialize);
  all.daemon(answer(0));
  all.client(initialized);
  all.seen();
  return all;
}

describe("the relay with a daemon", () => {
  it("passes messages on unchanged in both directions (1, 7)", () => {
    const { client, daemon, seen } = createRecorded();
    client(call(1));
    daemon(notice("notifications/progress", { progress: 1 }));
    daemon(answer(1, { text: "x" }));
    expect(seen()).toEqual([
      [">", call(1)],
      ["<", notice("notifications/progress", { progress: 1 })],
      ["<", answer(1, { text: "x" })],
    ]);
  });

  it("passes no line to the client that isn't a message", () => {
    const { relay, daemon, seen } = createRecorded();
    for (const text of ["oops", "", "[]", "null", '{"ollm":"later"}', '{"ollm":']) relay.daemonLine(line(text));
    daemon({ jsonrpc: "2.0" });
    expect(seen()).toEqual([]);
  });

  it("gives the daemon's questions ids that include the daemon, and restores its own ids in answers (8, 5)", () => {
    const { client, daemon, seen } = createRecorded();
    daemon(request(7, "elicitation/create"));
    client(answer("1:7", { action: "accept" }));
    client(answer("1:7", { action: "accept" }));
    client(answer(7));
    expect(seen()).toEqual([
      ["<", request("1:7", "elicitation/create")],
      [">", answer(7, { action: "accept" })],
    ]);
  });

  it("cancels a question under the id that the client knows", () => {
    const { daemon, seen } = createRecorded();
    daemon(request("q", "roots/list"));
    daemon(notice("notifications/cancelled", { requestId: "q" }));
    daemon(notice("notifications/cancelled", { requestId: "unknown" }));
    expect(seen().slice(1)).toEqual([["<", notice("notifications/cancelled", { requestId: '1:"q"' })]]);
  });

  it("refuses a line that is too long by its id, and ignores one without an id", () => {
    const { relay, seen } = createRecorded();
    relay.clientOversized(3, "too long");
    relay.clientOversized(undefined, "too long");
    expect(seen()).toEqual([["<", { jsonrpc: "2.0", id: 3, error: { code: -32600, message: "too long" } }]]);
  });
});

describe("the relay when its daemon dies", () => {
  it("replays the handshake without the client seeing its answer (6, 7)", () => {
    const { relay, daemon, client, seen } = withHandshake();
    relay.daemonGone(0);
    relay.connected();
    daemon(answer("ollm:initialize", {}));
    client(call(1));
    expect(seen()).toEqual([
      ["connect", 0],
      [">", { ...initialize, id: "ollm:initialize" }],
      [">", initialized],
      [">", call(1)],
    ]);
  });

  it("answers open calls with a retryable error, and repeats reads (11, 6)", () => {
    const { relay, client, daemon, seen } = withHandshake();
    client(call(1));
    client(call(2, "manage_model"));
    client(request(3, "resources/read", { uri: "ollm://models" }));
    seen();
    relay.daemonGone(0);
    relay.connected();
    daemon(answer(3));
    expect(seen()).toEqual([
      retryable(
        1,
        "the ollm daemon was restarted during this call; its answer is lost. Call again, or do the task yourself.",
      ),
      retryable(2, expect.stringContaining("Check the list of models before trying again")),
      ["connect", 0],
      [">", { ...initialize, id: "ollm:initialize" }],
      [">", initialized],
      [">", request(3, "resources/read", { uri: "ollm://models" })],
      ["<", answer(3)],
    ]);
  });

  it("repeats an unanswered initialize unchanged", () => {
    const { relay, client, daemon, seen } = createRecorded();
    client(initialize);
    relay.daemonGone(0);
    relay.connected();
    daemon(answer(0));
    expect(seen().slice(1)).toEqual([
      ["connect", 0],
      [">", initialize],
      ["<", answer(0)],
    ]);
  });

  it("renews subscriptions that were not cancelled", () => {
    const { relay, client, daemon, seen } = withHandshake();
    for (const [id, uri] of ["a", "b", "c"].entries()) client(request(id, "resources/subscribe", { uri }));
    daemon(answer(0));
    daemon(answer(1));
    daemon({ jsonrpc: "2.0", id: 2, error: { code: -32002, message: "no" } });
    client(request(4, "resources/unsubscribe", { uri: "a" }));
    daemon(answer(4));
    seen();
    relay.daemonGone(0);
    relay.connected();
    daemon(answer("ollm:subscribe:b"));
    expect(seen().slice(3)).toEqual([[">", request("ollm:subscribe:b", "resources/subscribe", { uri: "b" })]]);
  });

  it("reopens listens and drops the second acknowledgement, once", () => {
    const { relay, client, daemon, seen } = createRecorded();
    client(listen);
    daemon(acknowledged);
    seen();
    relay.daemonGone(0);
    relay.connected();
    daemon(acknowledged);
    daemon(notice("notifications/resources/updated", { uri: "x" }));
    expect(seen()).toEqual([
      ["connect", 0],
      [">", listen],
      ["<", notice("notifications/resources/updated", { uri: "x" })],
    ]);
  });

  it("cancels the dead daemon's questions, and passes no answer to the next one", () => {
    const { relay, daemon, client, seen } = createRecorded();
    daemon(request(7, "elicitation/create"));
    seen();
    relay.daemonGone(0);
    relay.connected();
    daemon(request(7, "elicitation/create"));
    client(answer("1:7"));
    client(answer("2:7"));
    expect(seen()).toEqual([
      ["<", notice("notifications/cancelled", { requestId: "1:7", reason: "the ollm daemon was restarted" })],
      ["connect", 0],
      ["<", request("2:7", "elicitation/create")],
      [">", answer(7)],
    ]);
  });

  it("queues what the client sends meanwhile, and drops what it cancels (2, 4)", () => {
    const { relay, client, seen } = createRecorded();
    relay.daemonGone(0);
    client(call(1));
    client(call(2));
    client(notice("notifications/cancelled", { requestId: 1 }));
    relay.connected();
    expect(seen()).toEqual([
      ["connect", 0],
      [">", call(2)],
    ]);
  });

  it("stops reading the client when too much waits, until a daemon accepts it", () => {
    const { relay, client, seen } = createRecorded({ isConnected: false });
    for (let id = 0; id < 256; id++) client(call(id));
    expect(seen()).toEqual([["hold", true]]);
    relay.connected();
    expect(seen().at(-1)).toEqual(["hold", false]);
  });

  it("starts no fourth daemon within a minute until the client needs one", () => {
    const { relay, client, seen } = createRecorded();
    for (const now of [0, 1_000, 2_000]) {
      relay.daemonGone(now);
      if (now < 2_000) relay.connected();
    }
    expect(seen()).toEqual([
      ["connect", 0],
      ["connect", 0],
    ]);
    client(notice("notifications/roots/list_changed"));
    expect(seen()).toEqual([]);
    client(call(1));
    expect(seen()).toEqual([["connect", 0]]);
  });

  it("answers waiting requests when no daemon is available, and retries with the next request (12)", () => {
    const { relay, client, seen } = createRecorded({ isConnected: false });
    client(initialize);
    client(call(1));
    relay.failed(failure("see the log"));
    client(call(2));
    expect(seen()).toEqual([retryable(0, "see the log"), retryable(1, "see the log"), ["connect", 0]]);
  });
});

describe("the relay when its daemon says farewell", () => {
  it("waits for the next daemon during a handover, and passes on answers of the old one (10)", () => {
    const { relay, client, daemon, seen } = createRecorded();
    client(call(1));
    relay.daemonLine(line('{"ollm":"farewell","reason":"handover"}'));
    client(call(2));
    daemon(answer(1));
    relay.daemonGone(0);
    relay.connected();
    expect(seen()).toEqual([
      [">", call(1)],
      ["<", answer(1)],
      ["connect", 5_000],
      [">", call(2)],
    ]);
  });

  it("sends the next daemon the requests that this one has not read, calls included, and no others (10, 11)", () => {
    const { relay, client, daemon, seen } = createRecorded();
    client(call(1));
    client(call(2));
    client(request("3", "tools/call", { name: "smart_load" }));
    daemon({ ollm: "farewell", reason: "handover", unanswered: [1, 3] });
    seen();
    relay.daemonGone(0);
    relay.connected();
    expect(seen()).toEqual([
      retryable(1),
      ["connect", 5_000],
      [">", call(2)],
      [">", request("3", "tools/call", { name: "smart_load" })],
    ]);
    relay.daemonGone(1);
    expect(seen()).toEqual([
      retryable(2),
      ["<", expect.objectContaining({ id: "3", error: expect.any(Object) })],
      ["connect", 0],
    ]);
  });

  it.each(["stop", "idle"])("starts no daemon after a %s until the client sends a request", (reason) => {
    const { relay, client, daemon, seen } = createRecorded();
    client(listen);
    daemon(acknowledged);
    daemon({ ollm: "farewell", reason });
    daemon(answer("l"));
    relay.daemonGone(0);
    expect(seen()).toEqual([
      [">", listen],
      ["<", acknowledged],
    ]);
    client(call(2));
    relay.connected();
    expect(seen()).toEqual([
      ["connect", 0],
      [">", listen],
      [">", call(2)],
    ]);
  });
});

describe("the relay under any input", () => {
  const anyLine = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .record(
        {
          jsonrpc: fc.constant("2.0"),
          id: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom("1:0", "ollm:initialize", "l", null)),
          method: fc.constantFrom(
            "initialize",
            "tools/call",
            "tools/list",
            "resources/subscribe",
            "subscriptions/listen",
            "notifications/cancelled",
            "notifications/initialized",
            "notifications/subscriptions/acknowledged",
            "__proto__",
          ),
          params: fc.oneof(fc.record({ requestId: fc.integer({ min: 0, max: 3 }) }), fc.anything()),
          result: fc.constant({}),
        },
        { requiredKeys: [] },
      )
      .map((value) => JSON.stringify(value)),
  );
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant("clientLine" as const), anyLine) },
    { weight: 6, arbitrary: fc.tuple(fc.constant("daemonLine" as const), anyLine) },
    fc.tuple(fc.constantFrom("lose" as const, "connected" as const, "failed" as const, "farewell" as const), anyLine),
  );

  it("writes only messages to the client, and answers each of its calls exactly once", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const given: unknown[] = [];
        const relay = new Relay({
          toClient: (text) => void given.push(JSON.parse(String(text))),
          toDaemon: () => undefined,
          connect: () => undefined,
          holdClient: () => undefined,
          drain: () => undefined,
          end: () => undefined,
        });
        for (const [name, sent] of steps) {
          if (name === "clientLine" || name === "daemonLine") relay[name](line(sent));
          else if (name === "lose") relay.daemonGone(0);
          else if (name === "failed") relay.failed(failure("gone"));
          else if (name === "farewell") relay.daemonLine(line('{"ollm":"farewell","reason":"handover"}'));
          else relay.connected();
        }
        relay.clientLine(line('{"jsonrpc":"2.0","id":"probe","method":"tools/call"}'));
        relay.connected();
        relay.daemonGone(0);
        const answers = given.filter((value) => (value as { id?: unknown }).id === "probe");
        expect(answers).toHaveLength(1);
        for (const value of given) expect(value).toMatchObject({ jsonrpc: "2.0" });
      }),
    );
  });
});
