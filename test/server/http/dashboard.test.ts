import { type IncomingMessage, request as httpRequest } from "node:http";
import { describe, expect, it } from "vitest";
import { rotateHttpToken } from "../../../src/ipc/token.ts";
import type { Change } from "../../../src/orchestrator/api/facade.ts";
import type { LiveHistory, LiveState } from "../../../src/orchestrator/api/facade-metrics.ts";
import { OneTimeCodes } from "../../../src/server/http/dashboard.ts";
import { sessionToken } from "../../../src/server/http/policy.ts";
import { isShell } from "../../../src/server/mcp/offered-tools.ts";
import { eventually } from "../../support/eventually.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { handClock } from "../../support/hand-clock.ts";
import {
  type TestListener,
  type TestListenerSetup,
  initializeMessage,
  sockets,
  startListeners,
} from "./listener-fixture.ts";

const start = startListeners();
const none = { authorization: undefined };

describe("a one-time code", () => {
  it("is accepted once", () => {
    const codes = new OneTimeCodes(() => 0);
    const code = codes.make();
    expect([codes.redeem(code), codes.redeem(code)]).toEqual([true, false]);
  });

  it("ends after five minutes", () => {
    let now = 0;
    const codes = new OneTimeCodes(() => now);
    const [early, late] = [codes.make(), codes.make()];
    now = 5 * 60_000 - 1;
    expect(codes.redeem(early)).toBe(true);
    now += 1;
    expect(codes.redeem(late)).toBe(false);
  });

  it("is one of at most eight: the oldest ends", () => {
    const codes = new OneTimeCodes(() => 0);
    const made = Array.from({ length: 9 }, () => codes.make());
    expect(made.map((code) => codes.redeem(code))).toEqual([false, ...Array.from({ length: 8 }, () => true)]);
  });

  it("stays valid however many wrong ones another program tries", () => {
    const codes = new OneTimeCodes(() => 0);
    const code = codes.make();
    expect(code).toMatch(/^[\w-]{43}$/);
    for (let count = 0; count < 1_000; count++) expect(codes.redeem(`${count}`)).toBe(false);
    expect(codes.redeem(code)).toBe(true);
  });
});

const state: LiveState = {
  at: "2026-11-23T05:30:00.000Z",
  memory: { totalBytes: 8_000_000, availableBytes: 6_000_000, models: [], otherBytes: 2_000_000, gpus: [] },
  operations: [],
  queue: [],
  today: { requests: 0, tokens: 0, saved: 0, currency: "USD" },
  warnings: [],
};
const noHistory: LiveHistory = {
  endsAt: state.at,
  modelBytes: [1],
  otherBytes: [2],
  availableBytes: [3],
  tokensPerSecond: [null],
  running: [0],
  waiting: [0],
};

/** An orchestrator whose state the test sets; `looks` counts how often it was read. */
function shownOrchestrator() {
  const shown = { state, looks: 0, watches: 0, publish: (_change: Change): void => undefined };
  const orchestrator = createFakeOrchestrator({
    live: {
      state: async () => {
        shown.looks += 1;
        return shown.state;
      },
      history: () => noHistory,
      sample: async () => undefined,
    },
    onChange(listener) {
      shown.publish = listener;
      return () => (shown.publish = () => undefined);
    },
    watch() {
      shown.watches += 1;
      return () => (shown.watches -= 1);
    },
  });
  return { shown, orchestrator };
}

interface Events {
  readonly status: number;
  /** The events so far: name and data. */
  readonly seen: [name: string, data: unknown][];
  readonly response: IncomingMessage;
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
  close(): void;
}

/** `GET /dashboard/events`, read while it comes. */
function openEvents({ port }: TestListener, token: string | undefined): Promise<Events> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const asked = httpRequest(
      { host: "127.0.0.1", port, path: "/dashboard/events", headers, agent: false },
      (response) => {
        const seen: Events["seen"] = [];
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
          const blocks = text.split("\n\n");
          text = blocks.pop() ?? "";
          for (const block of blocks) {
            const [, name, data] = /^event: (\w+)\ndata: (.+)$/.exec(block) ?? [];
            if (name !== undefined && data !== undefined) seen.push([name, JSON.parse(data)]);
          }
        });
        response.on("error", () => undefined);
        const closed = new Promise<void>((done) => response.once("close", () => done()));
        sockets.push(response.socket);
        resolve({ status: response.statusCode ?? 0, seen, response, closed, close: () => response.destroy() });
      },
    );
    asked.once("error", reject);
    asked.end();
  });
}

const names = ({ seen }: Events) => seen.map(([name]) => name);

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

  it("exchange the code of a link for a session's token, once", async () => {
    const listener = await start();
    const { dashboard } = listener;
    const code = new URL(dashboard.link(listener.listener.url)).hash.slice(1);
    const begun = await listener.ask("/dashboard/session", { headers: none, body: { code } });
    expect([begun.status, JSON.parse(begun.text)]).toEqual([200, { token: sessionToken(listener.token) }]);
    const again = await listener.ask("/dashboard/session", { headers: none, body: { code } });
    expect(again.status).toBe(403);
    expect(again.text).toContain("ollm dashboard prints a new one");
  });

  it.each([[undefined], [{}], [{ code: 7 }], [{ code: "" }], [[]], [null], ["code"]])(
    "give no session for %j",
    async (body) => {
      const listener = await start();
      const { dashboard } = listener;
      dashboard.link(listener.listener.url);
      const answer = await listener.ask("/dashboard/session", { method: "POST", headers: none, body });
      expect([400, 403, 415]).toContain(answer.status);
      expect(answer.text).not.toContain(sessionToken(listener.token));
    },
  );

  it("carry nothing without the token: none, a wrong one, a code, the token in the address", async () => {
    const { shown, orchestrator } = shownOrchestrator();
    const listener = await start({ orchestrator });
    const { dashboard } = listener;
    const code = new URL(dashboard.link(listener.listener.url)).hash.slice(1);
    for (const token of [undefined, "wrong", code, `${sessionToken(listener.token)}x`, ""]) {
      const events = await openEvents(listener, token);
      await events.closed;
      expect([events.status, events.seen]).toEqual([401, []]);
    }
    const token = sessionToken(listener.token);
    for (const query of [`x=${token}`, token, `${token}=x`, `x=1&${token}`, listener.token]) {
      const headers = { authorization: `Bearer ${token}` };
      const { status } = await listener.ask(`/dashboard/events?${query}`, { headers });
      expect([query, status]).toEqual([query, 400]);
    }
    expect([dashboard.pages, shown.looks]).toEqual([0, 0]);
  });

  it("take the session for events and MCP, and for nothing else", async () => {
    const listener = await start();
    const headers = { authorization: `Bearer ${sessionToken(listener.token)}` };
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
  /** A listener whose pages look when the test lets time pass. */
  async function startShown(setup: TestListenerSetup = {}) {
    const { shown, orchestrator } = shownOrchestrator();
    const clock = handClock();
    const listener = await start({ orchestrator, pageTimers: clock, ...setup });
    /** Resolves when the next look is over. */
    const look = async (afterMs = 1_000): Promise<void> => {
      const before = shown.looks;
      clock.advance(afterMs);
      await eventually(() => expect([shown.looks, clock.waiting]).toEqual([before + 1, 2]));
    };
    return { shown, clock, look, listener, token: sessionToken(listener.token) };
  }

  it("begins with the history and the state, and goes on with changes", async () => {
    const { shown, listener, token } = await startShown();
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    expect(events.seen.map(([, data]) => data)).toEqual([noHistory, state]);
    shown.publish({ kind: "models", isListChanged: true });
    await eventually(() => expect(events.seen[2]).toEqual(["change", { kind: "models", isListChanged: true }]));
  });

  it("carries a state when something has changed, not the time, a little memory or the numbers of a warning", async () => {
    const { shown, look, listener, token } = await startShown();
    shown.state = { ...state, warnings: ["load 4.7"] };
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    shown.state = { ...state, at: "later", memory: { ...state.memory, otherBytes: 2_000_100 }, warnings: ["load 5.1"] };
    await look();
    shown.state = { ...state, warnings: ["no engine responds"] };
    await look();
    await eventually(() => expect(names(events)).toEqual(["history", "state", "state"]));
    expect(events.seen[2]).toMatchObject(["state", { warnings: ["no engine responds"] }]);
  });

  it("carries four states a second while a model works, and a sign of life while nothing happens", async () => {
    const { shown, clock, look, listener, token } = await startShown();
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
    let text = "";
    events.response.on("data", (chunk: string) => (text += chunk));
    clock.advance(15_000);
    await eventually(() => expect(text).toContain(": heartbeat\n\n"));
  });

  it("is one look for all pages, and none without a page", async () => {
    const { shown, clock, look, listener, token } = await startShown();
    const pages: Events[] = [];
    for (let count = 0; count < 10; count++) pages.push(await openEvents(listener, token));
    for (const page of pages) await eventually(() => expect(names(page)).toEqual(["history", "state"]));
    expect([shown.looks, listener.dashboard.pages, shown.watches]).toEqual([1, 10, 1]);
    shown.state = { ...state, warnings: ["new"] };
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
    const replaced = rotateHttpToken(listener.home);
    await events.closed;
    expect((await openEvents(listener, token)).status).toBe(401);
    const begun = await openEvents(listener, sessionToken(replaced));
    await eventually(() => expect(names(begun)).toEqual(["history", "state"]));
    shown.state = { ...state, warnings: ["after"] };
    await look();
    await eventually(() => expect(begun.seen).toHaveLength(3));
    expect(events.seen).toHaveLength(2);
  });

  it("is never cut for a page that reads, whatever was written when it is looked at", async () => {
    const { clock, shown, listener, token } = await startShown({
      streamLimits: { maxUnreadBytes: 100_000, maxStallMs: 5 },
    });
    const events = await openEvents(listener, token);
    await eventually(() => expect(names(events)).toEqual(["history", "state"]));
    const from = performance.now();
    await eventually(() => {
      clock.advance(15_000);
      shown.publish({ kind: "models", isListChanged: true });
      expect(performance.now() - from).toBeGreaterThan(500);
    });
    expect(listener.logged.filter((line) => line.includes("was cut"))).toEqual([]);
    expect([events.response.destroyed, listener.dashboard.pages]).toEqual([false, 1]);
  });

  it("skips to the newest state for a page that reads slowly, and holds one state for it", async () => {
    const { shown, look, listener, token } = await startShown();
    // As much text as fills every buffer between us and the page.
    const large = (requests: number): LiveState => ({
      ...state,
      today: { ...state.today, requests },
      warnings: ["x".repeat(4_000_000)],
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
  return name === "state" ? (data as LiveState).today.requests : undefined;
}
