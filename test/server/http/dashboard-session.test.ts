import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { createOneTimeCodes } from "../../../src/server/http/dashboard.ts";
import { PageSession } from "../../../src/ui/session.ts";
import { entryOf, openTab, signIn } from "../../support/page-session.ts";
import {
  type TestListener,
  type TestListenerSetup,
  openEvents,
  shownOrchestrator,
  startListeners,
} from "./listener-fixture.ts";

const start = startListeners();
const none = { authorization: undefined };

describe("a one-time code", () => {
  it("is found by its name until it is used, once", () => {
    const codes = createOneTimeCodes(() => 0);
    const { id, code } = codes.make();
    expect(code).toMatch(/^[\w-]{43}$/);
    expect([codes.find(id), codes.find("other")]).toEqual([code, undefined]);
    expect([codes.redeem(code), codes.redeem(code), codes.find(id)]).toEqual([true, false, undefined]);
  });

  it("ends after five minutes", () => {
    let now = 0;
    const codes = createOneTimeCodes(() => now);
    const { id, code } = codes.make();
    now = 5 * 60_000 - 1;
    expect(codes.find(id)).toBe(code);
    now += 1;
    expect(codes.find(id)).toBeUndefined();
  });

  it("is one of at most eight: the oldest ends", () => {
    const codes = createOneTimeCodes(() => 0);
    const made = Array.from({ length: 9 }, () => codes.make());
    expect(made.map(({ id, code }) => codes.find(id) === code)).toEqual([
      false,
      ...Array.from({ length: 8 }, () => true),
    ]);
  });
});

/** `start` with an orchestrator that pages can look at. */
const begin = (setup: TestListenerSetup = {}) => start({ orchestrator: shownOrchestrator().orchestrator, ...setup });

describe("a session", () => {
  const open = async (listener: TestListener, bearer: string) => (await openEvents(listener, bearer)).status;

  it("ends after a day: its bearer, its secret and its streams", async () => {
    let now = 1_000_000_000_000;
    const listener = await begin({ now: () => now });
    const { session, bearer } = await signIn(listener.dashboard.link(listener.listener.url));
    const events = await openEvents(listener, bearer);
    now += 24 * 3_600_000 - 1;
    session.doubt();
    expect([await session.entry(), await open(listener, bearer)]).toEqual([{ kind: "bearer", bearer }, 200]);
    now += 1;
    expect(await open(listener, bearer)).toBe(401);
    session.doubt();
    expect(await session.entry()).toEqual({ kind: "ended" });
    await events.closed;
  });

  it("is not longer where the clock is set back", async () => {
    let now = 1_000_000_000_000;
    const listener = await begin({ now: () => now });
    const { bearer } = await signIn(listener.dashboard.link(listener.listener.url));
    now -= 1;
    expect(await open(listener, bearer)).toBe(401);
  });

  it("ends at sign-out, with its streams and its other tabs; others stay", async () => {
    const listener = await begin();
    const { url } = listener.listener;
    const [one, other] = [await signIn(listener.dashboard.link(url)), await signIn(listener.dashboard.link(url))];
    const copied = openTab(url, new Map(one.stored));
    expect(await copied.session.open("")).toEqual({ state: "open" });
    const events = await openEvents(listener, one.bearer);
    const headers = { authorization: `Bearer ${one.bearer}` };
    expect((await listener.ask("/dashboard/session", { method: "DELETE", headers })).status).toBe(204);
    expect([await open(listener, one.bearer), await open(listener, other.bearer)]).toEqual([401, 200]);
    expect(await copied.session.entry()).toEqual({ kind: "ended" });
    await events.closed;
    const byToken = await listener.ask("/dashboard/session", { method: "DELETE" });
    expect([byToken.status, byToken.text]).toEqual([400, expect.stringContaining("ollm token rotate")]);
    expect((await listener.ask("/dashboard/session", { method: "DELETE", headers: none })).status).toBe(401);
  });

  it("is one of at most sixteen: the oldest ends", async () => {
    const listener = await begin();
    const bearers: string[] = [];
    for (let count = 0; count < 17; count++) {
      bearers.push((await signIn(listener.dashboard.link(listener.listener.url))).bearer);
    }
    const statuses = await Promise.all(bearers.map((bearer) => open(listener, bearer)));
    expect(statuses).toEqual([401, ...Array.from({ length: 16 }, () => 200)]);
  });

  it("outlives a reload at the same listener, and no other: what a tab keeps is worthless once that has closed", async () => {
    const listener = await begin();
    const { stored, session } = await signIn(listener.dashboard.link(listener.listener.url));
    const reloaded = openTab(listener.listener.url, new Map(stored));
    await reloaded.session.open("#/models");
    expect((await reloaded.session.entry()).kind).toBe("bearer");
    await listener.listener.close();
    const next = await begin({ port: listener.port, home: listener.home, sessions: listener.sessions() });
    const late = openTab(next.listener.url, new Map(stored));
    await late.session.open("#/models");
    expect(await entryOf(late)).toEqual({ kind: "ended" });
    expect(await open(next, [...stored.values()].join(""))).toBe(401);
    // A page that stayed open knows the session's secret.
    expect((await entryOf({ session })).kind).toBe("bearer");
  });
});

describe("a program that takes the port of a listener", () => {
  /** Listens where the daemon did, passes on what it gets if it knows a daemon, and keeps it. */
  async function impostor(port: number, relayTo?: (headers: Record<string, string>) => Promise<TestListener>) {
    const got: { readonly headers: IncomingMessage["headers"]; readonly body: string }[] = [];
    const answer = async (request: IncomingMessage, response: ServerResponse, body: string): Promise<void> => {
      got.push({ headers: request.headers, body });
      if (relayTo === undefined) return void response.end("{}");
      const headers = { host: `127.0.0.1:${port}` };
      const daemon = await relayTo(headers);
      const { status, text } = await daemon.ask("/dashboard/session", { raw: body, headers: { ...none, ...headers } });
      response.writeHead(status, { "content-type": "application/json" }).end(text);
    };
    const server = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (part: string) => (body += part));
      request.once("end", () => void answer(request, response, body));
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return got;
  }
  const servers: Server[] = [];
  afterEach(async () => {
    await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
  });

  async function tabAfterKill() {
    const listener = await begin();
    const tab = await signIn(listener.dashboard.link(listener.listener.url));
    await listener.listener.close();
    return { listener, ...tab };
  }

  it("gets a name and a nonce from an open page, which open nothing at the next daemon", async () => {
    const { listener, session, bearer, stored } = await tabAfterKill();
    const got = await impostor(listener.port);
    expect(await entryOf({ session })).toEqual({ kind: "foreign" });
    expect(got.map(({ body }) => Object.keys(JSON.parse(body) as object))).toEqual([["by", "id", "nonce"]]);
    expect(JSON.stringify(got)).not.toContain("Bearer");
    const next = await begin({ home: listener.home, sessions: listener.sessions() });
    // Sent again; and the last bearer, which a request under way at the kill may have carried, in each form.
    const replayed = await next.ask("/dashboard/session", { raw: got[0]?.body ?? "", headers: none });
    expect(Object.keys(JSON.parse(replayed.text) as object)).toEqual(["nonce", "proof"]);
    for (const token of [bearer, ...stored.values(), (JSON.parse(got[0]?.body ?? "") as { id: string }).id]) {
      expect((await openEvents(next, token)).status).toBe(401);
    }
  });

  it.each([
    ["its own Host", (port: number) => ({ host: `127.0.0.1:${port}` })],
    ["the Host of the page", undefined],
  ])("gets nothing by passing the handshake on to a daemon at another port, under %s", async (_what, hostOf) => {
    const { listener, session } = await tabAfterKill();
    const next = await begin({ home: listener.home, sessions: listener.sessions() });
    const got = await impostor(listener.port, async (headers) => {
      Object.assign(headers, hostOf?.(next.port));
      return next;
    });
    expect(["foreign", "ended"]).toContain((await entryOf({ session })).kind);
    expect(got).toHaveLength(1);
    expect(got[0]?.body).not.toContain("proof");
  });

  it("gets nothing between the two messages, either: what the daemon gives is sealed", async () => {
    const listener = await begin();
    const link = listener.dashboard.link(listener.listener.url);
    const { origin, hash } = new URL(link);
    const tab = openTab(origin);
    const sent: string[] = [];
    const session = new PageSession({
      host: new URL(origin).host,
      subtle: crypto.subtle,
      storage: { getItem: () => null, setItem: () => undefined, removeItem: () => undefined },
      fetch: async (path, init) => {
        sent.push(init?.body as string);
        if (sent.length === 1) return fetch(new URL(path, origin), init);
        return Response.json({ id: "0".repeat(32), secret: "s", bearer: "b", seal: "0".repeat(32) });
      },
    });
    expect(await session.open(hash)).toMatchObject({
      state: "none",
      reason: expect.stringContaining("not proved") as string,
    });
    // The page's proof is of this handshake: with another nonce, or at another address, it is wrong.
    const proof = JSON.parse(sent[1] ?? "") as Record<string, string>;
    for (const [change, headers] of [
      [{ nonce: "1".repeat(32) }, {}],
      [{}, { host: `localhost:${listener.port}` }],
    ] as const) {
      const body = { ...proof, ...change };
      expect((await listener.ask("/dashboard/session", { body, headers: { ...none, ...headers } })).status).toBe(403);
    }
    expect(await tab.session.open(hash)).toEqual({ state: "open" });
  });
});
