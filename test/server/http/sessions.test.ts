import type { JSONRPCMessage } from "@modelcontextprotocol/server";
import { expect, it } from "vitest";
import { createSessionSlots } from "../../../src/server/http/streamable.ts";
import { handClock } from "../../support/hand-clock.ts";

const request = (id: number): JSONRPCMessage => ({ jsonrpc: "2.0", id, method: "tools/call", params: {} });
const answer = (id: number): JSONRPCMessage => ({ jsonrpc: "2.0", id, result: {} });

function slots(maxSessions = 2) {
  const clock = handClock();
  const ended: string[] = [];
  const taken = createSessionSlots({ maxSessions, idleMs: 1_000, graceMs: 100 }, clock);
  const take = () => {
    const lease = taken.take((why) => {
      ended.push(why);
      lease?.release();
    });
    return lease;
  };
  return { clock, ended, taken, take };
}

it("a newcomer is refused while every session is at work, until one is released", () => {
  const { taken, take } = slots();
  const [one, other] = [take(), take()];
  one?.exchange();
  other?.received(request(1));
  expect(taken.count()).toBe(2);
  expect(take()).toBeUndefined();
  one?.release();
  expect(take()).toBeDefined();
  expect(taken.count()).toBe(2);
});

it("at the cap the session that is idle for the longest time gives way, never one at work", () => {
  const { clock, taken } = slots(3);
  const gone: string[] = [];
  const take = (name: string) => taken.take((why) => gone.push(`${name}: ${why}`));
  const [working, first] = [take("working"), take("first"), take("second")];
  working?.received(request(1));
  clock.advance(10);
  // Used after the second one, which is now idle for longer.
  first?.received(request(2));
  first?.sent(answer(2));
  expect(take("third")).toBeDefined();
  expect(gone).toEqual(["second: it was idle, and a new session needed room"]);
  expect(take("fourth")).toBeDefined();
  expect(gone.slice(1)).toEqual(["first: it was idle, and a new session needed room"]);
  expect([working?.pending(), taken.count()]).toEqual([1, 3]);
});

it("an unused session ends after the idle time, counted from its last message", () => {
  const { clock, ended, take } = slots();
  const lease = take();
  clock.advance(999);
  lease?.received({ jsonrpc: "2.0", method: "notifications/initialized" });
  clock.advance(999);
  expect(ended).toEqual([]);
  clock.advance(1);
  expect(ended).toEqual(["it was not used"]);
  expect(clock.waiting).toBe(0);
});

it("an open exchange keeps a session, however long", () => {
  const { clock, ended, take } = slots();
  const end = take()?.exchange();
  clock.advance(1_000_000);
  expect(ended).toEqual([]);
  end?.();
  clock.advance(1_000);
  expect(ended).toEqual(["it was not used"]);
});

it("a client that disconnects during a request has the grace period to reconnect", () => {
  const { clock, ended, take } = slots();
  const lease = take();
  const end = lease?.exchange();
  lease?.received(request(1));
  end?.();
  clock.advance(99);
  const again = lease?.exchange();
  clock.advance(500);
  expect(ended).toEqual([]);
  again?.();
  clock.advance(100);
  expect(ended).toEqual(["its client has gone"]);
});

it("requests that are answered or cancelled are not under way any more", () => {
  const { clock, ended, take } = slots();
  const lease = take();
  lease?.received(request(1));
  lease?.received(request(2));
  expect(lease?.pending()).toBe(2);
  lease?.sent(answer(1));
  lease?.received({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } });
  expect(lease?.pending()).toBe(0);
  clock.advance(999);
  expect(ended).toEqual([]);
});
