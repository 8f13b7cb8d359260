import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { rotateHttpToken } from "../../../src/ipc/token.ts";
import type { LiveState } from "../../../src/orchestrator/api/facade-metrics.ts";
import { isShell } from "../../../src/orchestrator/api/types.ts";
import { eventually } from "../../support/eventually.ts";
import { handClock } from "../../support/hand-clock.ts";
import { signIn } from "../../support/page-session.ts";
import {
  type Events,
  type TestListenerSetup,
  initializeMessage,
  noHistory,
  openEvents,
  shownOrchestrator,
  startListeners,
  state,
} from "./listener-fixture.ts";

const start = startListeners();
const none = { authorization: undefined };

const names = ({ seen }: Events) => seen.map(([name]) => name);

/** `start` with an orchestrator that pages can look at. */
const begin = (setup: TestListenerSetup = {}) => start({ orchestrator: shownOrchestrator().orchestrator, ...setup });

const alert = (text: string) => ({ id: "daemon", text, since: state.at });

describe("the dashboard's routes", () => {
  it("serve the page without a token: it has no data, and no other page may frame it", async () => {
    const listener = await start();
    const { status, headers, text } = await listener.ask("/dashboard", { headers: none });
    expect([status, headers["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
    expect(headers).toMatchObject({
      "content-security-policy": "frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    });
    expect(text).toMatch(/^<!doctype html>[^]*script-src 'sha256-/);
  });

  it("serve the manifest by which a browser installs the page, without a token, too", async () => {
    const listener = await start();
    const { status, headers, text } = await listener.ask("/dashboard/app.webmanifest", { headers: none });
    expect([status, headers["content-type"]]).toEqual([200, "application/manifest+json"]);
    expect(JSON.parse(text)).toMatchObject({ id: "/dashboard", display: "standalone" });
    const again = { ...none, "if-none-match": headers["etag"] ?? "" };
    expect((await listener.ask("/dashboard/app.webmanifest", { headers: again })).status).toBe(304);
  });

  it("send the page again only if it has changed, in either form", async () => {
    const listener = await start();
    for (const encoding of ["gzip", "identity"]) {
      const headers = { ...none, "accept-encoding": encoding };
      const { etag = "" } = (await listener.ask("/dashboard", { headers })).headers;
      const again = await listener.ask("/dashboard", { headers: { ...headers, "if-none-match": etag } });
      expect([again.status, again.text, again.headers["cache-control"]]).toEqual([304, "", "no-cache"]);
      const other = await listener.ask("/dashboard", { headers: { ...headers, "if-none-match": 'W/"old"' } });
      expect(other.status).toBe(200);
    }
  });

  it.each([
    ["gzip, deflate, br", "gzip"],
    ["deflate, gzip;q=0.5", "gzip"],
    ["gzip;q=0, identity", undefined],
    ["br", undefined],
    ["", undefined],
  ])("send the page compressed where it is accepted: %s", async (accepted, encoding) => {
    const listener = await start();
    const { headers, text } = await listener.ask("/dashboard", { headers: { ...none, "accept-encoding": accepted } });
    expect(headers["content-encoding"]).toBe(encoding);
    expect(text.startsWith("<!doctype html>")).toBe(encoding === undefined);
    expect(headers["vary"]).toBe("accept-encoding");
  });

  it("begin a session by a link, once: neither its code nor a secret is sent to the listener", async () => {
    const listener = await begin();
    const link = listener.dashboard.link(listener.listener.url);
    const { session, bearer, exchanged } = await signIn(link);
    expect((await openEvents(listener, bearer)).status).toBe(200);
    expect(exchanged.filter((_, at) => at % 2 === 0).join("")).not.toContain(link.split(".").at(-1));
    await expect(signIn(link)).rejects.toThrow("This link was used");
    // The next bearer at the same listener is the same; the page proves that it knows the session.
    session.doubt();
    expect(await session.entry()).toEqual({ kind: "bearer", bearer });
  });

  it.each([
    [undefined],
    [{}],
    [{ code: 7 }],
    [[]],
    [null],
    ["code"],
    [{ by: "token", id: "0".repeat(16), nonce: "0".repeat(32) }],
    [{ by: "link", id: "0".repeat(16), nonce: "short" }],
    [{ by: "link", id: "0".repeat(16), nonce: "0".repeat(32) }],
    [{ by: "session", id: "0".repeat(32), nonce: "0".repeat(32) }],
    [{ by: "bearer", id: "0".repeat(32), nonce: "0".repeat(32), proof: "0".repeat(32) }],
  ])("give no session for %j", async (body) => {
    const listener = await start();
    listener.dashboard.link(listener.listener.url);
    const answer = await listener.ask("/dashboard/session", { method: "POST", headers: none, body });
    expect([400, 403, 415]).toContain(answer.status);
    expect(answer.text).not.toMatch(/secret|bearer"|proof"/);
  });

  it("carry nothing without the token: none, a wrong one, a code, the token in the address", async () => {
    const { shown, orchestrator } = shownOrchestrator();
    const listener = await start({ orchestrator });
    const { dashboard } = listener;
    const code = new URL(dashboard.link(listener.listener.url)).hash.slice(1);
    const { bearer } = await signIn(dashboard.link(listener.listener.url));
    for (const token of [undefined, "wrong", code, `${bearer}x`, bearer.split(".")[0], ""]) {
      const events = await openEvents(listener, token);
      await events.closed;
      expect([events.status, events.seen]).toEqual([401, []]);
    }
    const token = bearer;
    for (const query of [`x=${token}`, token, `${token}=x`, `x=1&${token}`, listener.token]) {
      const headers = { authorization: `Bearer ${token}` };
      const { status } = await listener.ask(`/dashboard/events?${query}`, { headers });
      expect([query, status]).toEqual([query, 400]);
    }
    expect([dashboard.pages, shown.looks]).toEqual([0, 0]);
  });

  it("read what was asked and answered for a session alone, not for a program with the token", async () => {
    const listener = await start();
    const { bearer } = await signIn(listener.dashboard.link(listener.listener.url));
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    const ask = async (token: string, id: string) => {
      const headers = { authorization: `Bearer ${token}` };
      const { status, text } = await listener.ask(`/dashboard/texts?trace=${id}`, { headers });
      return [status, text];
    };
    expect(await ask(bearer, trace)).toEqual([200, `{"prompt":"${trace}"}`]);
    for (const [token, id] of [
      [listener.token, trace],
      [bearer, ""],
      [bearer, ".*"],
    ] as const) {
      expect((await ask(token, id))[0]).toBe(403);
    }
    expect((await ask("wrong", trace))[0]).toBe(401);
  });

  it("take the session for events, texts and MCP, and for nothing else", async () => {
    const listener = await start();
    const { bearer } = await signIn(listener.dashboard.link(listener.listener.url));
    const headers = { authorization: `Bearer ${bearer}` };
    const statuses = await Promise.all(
      ["/sse", "/messages", "/health", "/nowhere"].map(async (path) => (await listener.ask(path, { headers })).status),
    );
    expect(statuses).toEqual([401, 401, 401, 401]);
    expect((await listener.ask("/mcp", { headers, body: initializeMessage })).status).toBe(200);
  });

  it("offer every tool to the page, as to the shell", () => {
    expect([isShell("ollm-dashboard"), isShell("ollm"), isShell("cursor")]).toEqual([true, true, false]);
  });

  it("refuse pages of other sites", async () => {
    const listener = await start();
    for (const headers of [
      { origin: "http://evil.example" },
      { "sec-fetch-site": "cross-site" },
      { host: "evil.example" },
    ]) {
      expect((await listener.ask("/dashboard", { headers: { ...none, ...headers } })).status).toBe(403);
      const begun = await listener.ask("/dashboard/session", { headers: { ...none, ...headers }, body: { code: "x" } });
      expect(begun.status).toBe(403);
    }
  });
});

describe("the event stream", () => {
  /** A listener whose time the test lets pass. */
  async function startShown(setup: TestListenerSetup = {}) {
    const { shown, orchestrator } = shownOrchestrator();
    const clock = handClock();
    const listener = await start({ orchestrator, pageTimers: clock, ...setup });
    /** Resolves when the next state was made. */
    const look = async (afterMs = 3_000): Promise<void> => {
      const before = shown.looks;
      clock.advance(afterMs);
      await eventually(() => expect([shown.looks, clock.waiting]).toEqual([before + 1, 1]));
    };
    const { bearer } = await signIn(listener.dashboard.link(listener.listener.url));
    return { shown, clock, look, listener, token: bearer };
  }

  it("begins with the history and the state, and goes on with changes", async () => {
    const { shown, listener, token } = await startShown();
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    expect(events.seen.map(([, data]) => data)).toEqual([noHistory, state]);
    shown.publish({ kind: "models", isListChanged: true });
    await eventually(() => expect(events.seen[2]).toEqual(["change", { kind: "models", isListChanged: true }]));
  });

  it("makes no state between ticks while nothing happens, however many pages are open", async () => {
    const { shown, clock, look, listener, token } = await startShown();
    const pages = await Promise.all(Array.from({ length: 3 }, () => openEvents(listener, token)));
    for (const page of pages) await eventually(() => expect(names(page)).toEqual(["history", "state"]));
    for (let count = 1; count <= 20; count++) {
      clock.advance(2_999);
      expect(shown.looks).toBe(count);
      await look(1);
    }
  });

  it("carries a state within 100 ms of an event, and one of a hundred", async () => {
    const { shown, clock, look, listener, token } = await startShown();
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    await look();
    clock.advance(1_000);
    shown.state = { ...state, alerts: [alert("at once")] };
    shown.changed();
    await look(0);
    await eventually(() => expect(events.seen.at(-1)).toEqual(["state", shown.state]));
    shown.state = { ...state, alerts: [alert("together")] };
    for (let count = 0; count < 100; count++) shown.changed();
    clock.advance(99);
    expect(shown.looks).toBe(3);
    await look(1);
    await eventually(() => expect(events.seen.at(-1)).toEqual(["state", shown.state]));
    // An event while the state is made is in the next one.
    shown.changed();
    clock.advance(100);
    shown.changed();
    await eventually(() => expect(shown.looks).toBe(5));
    await look(100);
    expect(shown.looks).toBe(6);
  });

  it("carries four states a second while a model works", async () => {
    const { shown, look, listener, token } = await startShown();
    const operation = {
      id: "generate-1",
      kind: "generate",
      title: "generate",
      startedAt: state.at,
      isJob: false,
    } as const;
    shown.state = { ...state, operations: [operation] };
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    for (let count = 1; count <= 4; count++) {
      shown.state = { ...state, operations: [{ ...operation, completionTokens: count }] };
      await look(250);
    }
    await eventually(() => expect(events.seen).toHaveLength(6));
  });

  it("carries a sign of life while there is no state", async () => {
    const { shown, look, listener, token } = await startShown();
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    let text = "";
    events.response.on("data", (chunk: string) => (text += chunk));
    shown.fails = true;
    await look();
    await eventually(() => expect(text).toContain(": heartbeat\n\n"));
  });

  it("is one look for all pages, and none without a page", async () => {
    const { shown, clock, look, listener, token } = await startShown();
    const pages: Events[] = [];
    for (let count = 0; count < 10; count++) pages.push(await openEvents(listener, token));
    for (const page of pages) await eventually(() => expect(names(page)).toEqual(["history", "state"]));
    expect([shown.looks, listener.dashboard.pages, shown.watches]).toEqual([1, 10, 1]);
    shown.state = { ...state, alerts: [alert("new")] };
    await look();
    for (const page of pages) await eventually(() => expect(page.seen).toHaveLength(3));
    expect(shown.looks).toBe(2);
    for (const page of pages) page.close();
    await eventually(() => expect([listener.dashboard.pages, shown.watches, clock.waiting]).toEqual([0, 0, 0]));
    const again = await openEvents(listener, token);
    await eventually(() => expect(names(again)).toEqual(["history", "state"]));
    expect(shown.looks).toBe(3);
  });

  it("ends when the token is replaced, and the old session opens no other", async () => {
    const { look, shown, listener, token } = await startShown();
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    rotateHttpToken(listener.home);
    await events.closed;
    expect((await openEvents(listener, token)).status).toBe(401);
    const again = await signIn(listener.dashboard.link(listener.listener.url));
    const begun = await openEvents(listener, again.bearer);
    await eventually(() => expect(names(begun)).toEqual(["history", "state"]));
    shown.state = { ...state, alerts: [alert("after")] };
    await look();
    await eventually(() => expect(begun.seen).toHaveLength(3));
    expect(events.seen).toHaveLength(2);
  });

  it.each([
    ["whatever was written when it is looked at", 5, 0],
    ["nor when all was read long before the next state", 30, 50],
  ])("is never cut for a page that reads, %s", async (_when, maxStallMs, pauseMs) => {
    const { clock, shown, listener, token } = await startShown({
      streamLimits: { maxUnreadBytes: 100_000, maxStallMs },
    });
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    const from = performance.now();
    await eventually(async () => {
      clock.advance(15_000);
      shown.publish({ kind: "models", isListChanged: true });
      await pause(pauseMs);
      expect(performance.now() - from).toBeGreaterThan(500);
    });
    expect(listener.logged.filter((line) => line.includes("was cut"))).toEqual([]);
    expect([events.response.destroyed, listener.dashboard.pages]).toEqual([false, 1]);
  });

  it("skips to the newest state for a page that reads slowly, and holds one state for it", async () => {
    const { shown, look, listener, token } = await startShown();
    // As much text as fills every buffer between us and the page.
    const large = (tokens: number): LiveState => ({
      ...state,
      tokens,
      alerts: [alert("x".repeat(4_000_000))],
    });
    shown.state = large(0);
    const [slow, quick] = [await openEvents(listener, token), await openEvents(listener, token)];
    await eventually(() => expect(names(slow)).toEqual(["history", "state"]));
    slow.response.pause();
    for (let count = 1; count <= 6; count++) {
      shown.state = large(count);
      await look();
      await eventually(() => expect(newest(quick)).toBe(count));
    }
    slow.response.resume();
    await eventually(() => expect(newest(slow)).toBe(6));
    expect(slow.seen.length).toBeLessThan(quick.seen.length);
  });
});

/** The number in the newest state. */
function newest({ seen }: Events): number | undefined {
  const [name, data] = seen.at(-1) ?? [];
  return name === "state" ? (data as LiveState).tokens : undefined;
}
