import fc from "fast-check";
import { expect, test } from "vitest";
import { type Connection, createLiveStream, reconnectDelayMs } from "../../src/ui/live.ts";
import type { Entry } from "../../src/ui/session.ts";

test("each try waits twice as long as the one before, up to eight seconds, less a share by chance", () => {
  expect([1, 2, 3, 4, 5, 6, 7, 100].map((tries) => reconnectDelayMs(tries, 0))).toEqual([
    250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000,
  ]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000 }), fc.double({ min: 0, max: 1, noNaN: true }), (tries, random) => {
      const full = reconnectDelayMs(tries, 0);
      const delay = reconnectDelayMs(tries, random);
      expect(delay).toBeGreaterThanOrEqual(Math.floor(full / 2));
      expect(delay).toBeLessThanOrEqual(full);
    }),
  );
});

/** A stream whose connections are answered by `answers`, in order; the last wait stops it. */
async function run(answers: readonly (Response | Error)[], entries: Entry[] = []) {
  const connections: Connection[] = [];
  const events: string[] = [];
  const waits: number[] = [];
  const tokens: (string | null)[] = [];
  let isRefused = false;
  let doubts = 0;
  const left = [...answers];
  const stream: ReturnType<typeof createLiveStream> = createLiveStream({
    fetch: async (_url, init) => {
      tokens.push(new Headers(init?.headers).get("authorization"));
      const next = left.shift();
      if (next === undefined || next instanceof Error) throw next ?? new Error("no more");
      return next;
    },
    entry: async () => entries.shift() ?? { kind: "bearer", bearer: "secret" },
    doubt: () => (doubts += 1),
    now: () => 1_000 * (waits.length + 1),
    random: () => 0,
    wait: async (milliseconds) => {
      waits.push(milliseconds);
      if (left.length === 0) stream.stop();
    },
    onConnection: (connection) => connections.push(connection),
    onEvent: ({ event, data }) => events.push(`${event} ${data}`),
    onRefused: () => (isRefused = true),
  });
  await stream.run();
  return { connections, events, waits, tokens, isRefused, doubts };
}

const stream = (text: string) => new Response(text, { headers: { "content-type": "text/event-stream" } });

test("a stream goes on after the daemon's restart, and says since when it was interrupted", async () => {
  const ran = await run([
    stream("event: state\ndata: 1\n\n"),
    new TypeError("connection refused"),
    new Response("starting", { status: 503 }),
    stream("event: state\ndata: 2\n\n"),
  ]);
  expect(ran.events).toEqual(["state 1", "state 2"]);
  expect(ran.waits).toEqual([250, 500, 1_000, 250]);
  expect(ran.tokens).toEqual(Array.from({ length: 4 }, () => "Bearer secret"));
  expect(ran.connections).toEqual([
    { state: "connecting" },
    { state: "connected" },
    { state: "reconnecting", sinceMs: 1_000, tries: 1, isForeign: false },
    { state: "reconnecting", sinceMs: 1_000, tries: 2, isForeign: false },
    { state: "reconnecting", sinceMs: 1_000, tries: 3, isForeign: false },
    { state: "connected" },
    { state: "reconnecting", sinceMs: 4_000, tries: 1, isForeign: false },
  ]);
});

test("a session that has ended ends the stream", async () => {
  const ran = await run([stream("data: never\n\n")], [{ kind: "ended" }]);
  expect(ran).toMatchObject({ isRefused: true, events: [], waits: [], tokens: [] });
});

test("each connection that ended leaves a doubt, and another program is asked for nothing", async () => {
  const ran = await run(
    [stream("event: state\ndata: 1\n\n"), new Response("{}", { status: 401 }), new TypeError("refused")],
    [
      { kind: "bearer", bearer: "first" },
      { kind: "foreign" },
      { kind: "offline" },
      { kind: "bearer", bearer: "second" },
    ],
  );
  expect(ran.tokens).toEqual(["Bearer first", "Bearer second", "Bearer secret"]);
  expect(ran.doubts).toBe(3);
  expect(ran.connections.map((each) => "isForeign" in each && each.isForeign)).toEqual([
    false,
    false,
    false,
    true,
    false,
    false,
    false,
  ]);
});
