import { readFile, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { httpTokenFile } from "../../../src/ipc/run-folder.ts";
import { rotateHttpToken } from "../../../src/ipc/token.ts";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { type AccessPolicy, accessLists, digestOf, hostAndPort, judge } from "../../../src/server/http/policy.ts";
import {
  type AskOptions,
  type TestListener,
  ask,
  beginSession,
  initializeMessage,
  startListener,
} from "./listener-fixture.ts";

const routes = [
  ["GET", "/mcp"],
  ["POST", "/mcp"],
  ["DELETE", "/mcp"],
  ["OPTIONS", "/mcp"],
  ["GET", "/sse"],
  ["POST", "/messages"],
  ["POST", "/messages?sessionId=1"],
  ["GET", "/health"],
  ["GET", "/dashboard"],
  ["GET", "/dashboard/app.webmanifest"],
  ["POST", "/dashboard/session"],
  ["GET", "/dashboard/events"],
  ["GET", "/"],
  ["GET", "/favicon.ico"],
  ["GET", "/.well-known/oauth-protected-resource"],
  ["PUT", "/nowhere"],
] as const;

/** What an attack does to a request that would be let in. */
const attacks: readonly (readonly [string, number, (port: number, token: string) => AskOptions])[] = [
  ["a foreign Origin", 403, () => ({ headers: { origin: "https://evil.example" } })],
  ["a null Origin", 403, () => ({ headers: { origin: "null" } })],
  ["another local server's Origin", 403, () => ({ headers: { origin: "http://localhost:9" } })],
  ["our own host's Origin with another scheme", 403, (port) => ({ headers: { origin: `https://localhost:${port}` } })],
  [
    "an Origin that begins like ours",
    403,
    (port) => ({ headers: { origin: `http://localhost:${port}.evil.example` } }),
  ],
  ["a foreign Host", 403, (port) => ({ headers: { host: `evil.example:${port}` } })],
  ["a Host that begins like ours", 403, (port) => ({ headers: { host: `localhost:${port}.evil.example` } })],
  ["our Host with another port", 403, () => ({ headers: { host: "localhost:9" } })],
  ["our Host without a port", 403, () => ({ headers: { host: "localhost" } })],
  ["a link or image of another site", 403, () => ({ headers: { "sec-fetch-site": "cross-site" } })],
  ["a page of a neighbour's name", 403, () => ({ headers: { "sec-fetch-site": "same-site" } })],
  ["no token", 401, () => ({ headers: { authorization: undefined } })],
  ["an empty token", 401, () => ({ headers: { authorization: "Bearer " } })],
  ["a wrong token", 401, () => ({ headers: { authorization: "Bearer 0123456789012345678901234567890123456789012" } })],
  ["half the token", 401, (_, token) => ({ headers: { authorization: `Bearer ${token.slice(0, 20)}` } })],
  ["more than the token", 401, (_, token) => ({ headers: { authorization: `Bearer ${token}x` } })],
  ["the token under another scheme", 401, (_, token) => ({ headers: { authorization: `Basic ${token}` } })],
  ["the token in a cookie", 401, (_, token) => ({ headers: { authorization: undefined, cookie: `token=${token}` } })],
];

describe("every route refuses", () => {
  let listener: TestListener;
  beforeAll(async () => {
    listener = await startListener();
  });
  afterAll(() => listener.close());

  // Without a token, /health only says that we run: tested below.
  const isProbe = (what: string, target: string) =>
    target === "/health" && ["no token", "the token in a cookie"].includes(what);
  // They need none: a page without data, its manifest, and the exchange of a link's code for a session (`dashboard.test.ts`).
  const isOpen = (status: number, target: string) =>
    status === 401 && ["/dashboard", "/dashboard/app.webmanifest", "/dashboard/session"].includes(target);
  const cases = attacks.flatMap(([what, status, attack]) =>
    routes.flatMap(([method, target]) =>
      isProbe(what, target) || isOpen(status, target) ? [] : [{ what, status, attack, method, target }],
    ),
  );
  it.each(cases)("$what at $method $target", async ({ status, attack, method, target }) => {
    const body = method === "POST" ? { body: initializeMessage } : {};
    const answer = await listener.ask(target, { method, ...body, ...attack(listener.port, listener.token) });
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toMatchObject({ jsonrpc: "2.0", id: null, error: { code: -32_000 } });
    expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    expect(answer.text).not.toContain(listener.token);
  });

  it.each(
    routes.flatMap(([method, target]) => ["token", "Access_Token", "other"].map((name) => ({ method, target, name }))),
  )("a token in the URL ($name) at $method $target, even beside the right header", async ({ method, target, name }) => {
    const url = `${target}${target.includes("?") ? "&" : "?"}${name}=${listener.token}`;
    const answer = await listener.ask(url, { method, headers: { "content-length": "0" } });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain("never accepted");
    expect(listener.logged.join("\n")).not.toContain(listener.token);
  });

  it("two Host headers, two tokens and a target that is a whole address", async () => {
    const lines = (extra: string, target = "/health") =>
      `GET ${target} HTTP/1.1\r\nHost: localhost:${listener.port}\r\nAuthorization: Bearer ${listener.token}\r\n${extra}Connection: close\r\n\r\n`;
    expect(await raw(listener.port, lines(""))).toContain("200 OK");
    expect(await raw(listener.port, "GET /health HTTP/1.1\r\nHost:\r\n\r\n")).toContain(" 403 ");
    expect(await raw(listener.port, "GET /health HTTP/1.1\r\n\r\n")).toContain(" 400 ");
    expect(await raw(listener.port, "GET /health HTTP/1.0\r\n\r\n")).toContain(" 403 ");
    expect(await raw(listener.port, lines("Host: evil.example\r\n"))).toContain(" 400 ");
    expect(await raw(listener.port, lines("Authorization: Bearer x\r\n"))).toContain(" 400 ");
    expect(await raw(listener.port, lines("", "http://evil.example/health"))).toContain(" 400 ");
    expect(await raw(listener.port, lines("", "//evil.example/health"))).toContain(" 404 ");
  });

  it("unknown routes, methods and content types of authenticated callers", async () => {
    expect((await listener.ask("/")).status).toBe(404);
    expect((await listener.ask("/MCP")).status).toBe(404);
    expect((await listener.ask("/mcp/")).status).toBe(404);
    const put = await listener.ask("/mcp", { method: "PUT", body: {} });
    expect([put.status, put.headers.allow]).toEqual([405, "GET, POST, DELETE"]);
    expect((await listener.ask("/mcp", { body: {}, headers: { "content-type": "text/plain" } })).status).toBe(415);
    expect((await listener.ask("/messages", { body: {}, headers: { "content-encoding": "gzip" } })).status).toBe(415);
  });

  it("no caller with an allowed Host and the token", async () => {
    for (const host of ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"]) {
      const answer = await listener.ask("/health", { headers: { host: `${host}:${listener.port}` } });
      expect([host, answer.status, JSON.parse(answer.text)]).toEqual([host, 200, { ok: true, version: "0.0.0-test" }]);
    }
    const own = await listener.ask("/health", { headers: { origin: `http://localhost:${listener.port}` } });
    expect([own.status, own.headers["access-control-allow-origin"]]).toEqual([
      200,
      `http://localhost:${listener.port}`,
    ]);
  });
});

describe("the lists of the settings", () => {
  let listener: TestListener;
  beforeAll(async () => {
    listener = await startListener({
      settings: { allowedHosts: ["box.example", "named.example:99"], allowedOrigins: ["https://app.example"] },
    });
  });
  afterAll(() => listener.close());

  it("let in the Hosts that they name, and none that looks like them", async () => {
    const statusOf = async (host: string) => (await listener.ask("/health", { headers: { host } })).status;
    expect(await statusOf("box.example")).toBe(200);
    expect(await statusOf(`box.example:${listener.port}`)).toBe(200);
    expect(await statusOf("named.example:99")).toBe(200);
    expect(await statusOf("named.example")).toBe(403);
    expect(await statusOf("box.example:98")).toBe(403);
    expect(await statusOf("sub.box.example")).toBe(403);
  });

  it("can't let in every page", async () => {
    const everybody = await startListener({ settings: { allowedOrigins: ["null", "*", "https://app.example/"] } });
    const statusOf = async (origin: string) => (await everybody.ask("/health", { headers: { origin } })).status;
    expect([await statusOf("null"), await statusOf("*"), await statusOf("https://app.example")]).toEqual([
      403, 403, 200,
    ]);
    expect(everybody.logged.filter((line) => line.includes("is ignored"))).toHaveLength(2);
    await everybody.close();
  });

  it("answer the preflight of the Origins that they name, by name and never with a star", async () => {
    const preflight = (origin: string) =>
      listener.ask("/mcp", {
        method: "OPTIONS",
        headers: { origin, authorization: undefined, "access-control-request-method": "POST" },
      });
    const answer = await preflight("https://app.example");
    expect(answer.status).toBe(204);
    expect(answer.headers["access-control-allow-origin"]).toBe("https://app.example");
    expect(answer.headers.vary).toBe("Origin");
    const foreign = await preflight("https://evil.example");
    expect(foreign.status).toBe(403);
    expect(foreign.headers["access-control-allow-origin"]).toBeUndefined();
  });
});

describe("the token", () => {
  let listener: TestListener | undefined;
  afterEach(async () => {
    await listener?.close();
    listener = undefined;
  });

  it("is stored in a file for its user only, 32 random bytes long", async () => {
    listener = await startListener();
    expect(Buffer.from(listener.token, "base64url")).toHaveLength(32);
    expect(listener.listener.tokenFile).toBe(httpTokenFile(listener.home));
    if (process.platform !== "win32") expect((await stat(listener.listener.tokenFile)).mode & 0o777).toBe(0o600);
  });

  it("is obeyed at once when it is replaced, and what the old one opened is closed", async () => {
    listener = await startListener();
    const session = await beginSession(listener);
    const stream = listener.ask("/mcp", { headers: { "mcp-session-id": session } });
    const cut = expect(stream).rejects.toThrow();
    await listener.ask("/health");
    const fresh = rotateHttpToken(listener.home);
    expect((await listener.ask("/health")).status).toBe(401);
    expect((await ask(listener.port, "/health", fresh, {})).status).toBe(200);
    await cut;
    const gone = await ask(listener.port, "/mcp", fresh, { headers: { "mcp-session-id": session } });
    expect(gone.status).toBe(404);
  });

  it("opens nothing when its file is emptied", async () => {
    listener = await startListener();
    await writeFile(listener.listener.tokenFile, "");
    expect((await listener.ask("/health")).status).toBe(401);
    expect((await listener.ask("/health", { headers: { authorization: "Bearer " } })).status).toBe(401);
  });

  it("can be left out on loopback, where Host and Origin are still checked, and nowhere else", async () => {
    listener = await startListener({ isWithoutToken: true });
    const open = { authorization: undefined };
    expect((await listener.ask("/health", { headers: open })).status).toBe(200);
    expect((await listener.ask("/health", { headers: { ...open, origin: "https://evil.example" } })).status).toBe(403);
    expect((await listener.ask("/health", { headers: { ...open, host: "evil.example" } })).status).toBe(403);
    await expect(startListener({ isWithoutToken: true, bind: "0.0.0.0" })).rejects.toThrow(InvalidRequest);
  });

  it("can't be left out where localhost leads to an address that other machines reach", async () => {
    const lookup = async () => ({ address: "192.0.2.1" });
    await expect(startListener({ isWithoutToken: true, bind: "localhost", lookup })).rejects.toThrow(
      "localhost (192.0.2.1) needs a token",
    );
    listener = await startListener({
      isWithoutToken: true,
      bind: "box",
      lookup: async () => ({ address: "127.0.0.1" }),
    });
    expect(listener.listener.url).toContain("http://127.0.0.1:");
  });

  it.each(["", " ", "[]"])("refuses an empty address (%j), which would be all of them", async (bind) => {
    await expect(startListener({ bind })).rejects.toThrow("the address to bind to is empty");
  });

  it("is asked for at an address that other machines reach, which is served under the numbers that were dialled", () => {
    const token = "0123456789012345678901234567890123456789012";
    const settings = { allowedHosts: [], allowedOrigins: [] };
    const policy: AccessPolicy = { ...accessLists("0.0.0.0", 7411, settings), token: digestOf(token) };
    const verdict = (host: string, authorization?: string) =>
      judge(
        {
          method: "GET",
          target: "/health",
          headers: { host, authorization },
          rawHeaders: [],
          localHost: hostAndPort("::ffff:192.168.1.5", 7411),
        },
        policy,
      );
    expect(verdict("192.168.1.5:7411", `Bearer ${token}`)).toMatchObject({ kind: "route", route: "health" });
    expect(verdict("192.168.1.5:7411", "Bearer wrong")).toMatchObject({ kind: "refused", status: 401 });
    expect(verdict("192.168.1.5:7411")).toEqual({ kind: "probe" });
    expect(verdict("box.lan:7411")).toMatchObject({ kind: "refused", status: 403 });
    expect(verdict("192.168.1.6:7411", `Bearer ${token}`)).toMatchObject({ kind: "refused", status: 403 });
    expect(verdict("box.lan:7411", `Bearer ${token}`)).toMatchObject({ kind: "refused", status: 403 });
  });
});

it("takes no more than a few requests at once on one connection", async () => {
  const listener = await startListener();
  const session = await beginSession(listener);
  const head = (method: string, target: string, extra = "") =>
    `${method} ${target} HTTP/1.1\r\nHost: localhost:${listener.port}\r\nAuthorization: Bearer ${listener.token}\r\n${extra}\r\n`;
  // An open stream keeps all that stand behind it waiting.
  const stream = head("GET", "/mcp", `Accept: text/event-stream\r\nMcp-Session-Id: ${session}\r\n`);
  const socket = connect(listener.port, "127.0.0.1", () => socket.write(stream + head("GET", "/health").repeat(200)));
  socket.on("error", () => undefined);
  socket.resume();
  await expect.poll(() => listener.logged.some((line) => line.includes("requests at once"))).toBe(true);
  socket.destroy();
  expect((await listener.ask("/health")).status).toBe(200);
  await listener.close();
});

describe("a body", () => {
  let listener: TestListener;
  beforeAll(async () => {
    listener = await startListener();
  });
  afterAll(() => listener.close());

  it.each(["/mcp", "/messages"])(
    "of 5 MiB is refused with 413 at %s, said or not said how long it is",
    async (target) => {
      const large = Buffer.alloc(5 * 1024 * 1024, "x");
      expect((await listener.ask(target, { raw: large })).status).toBe(413);
      const chunked = await listener.ask(target, {
        raw: large,
        headers: { "content-length": undefined, "transfer-encoding": "chunked" },
      });
      expect(chunked.status).toBe(413);
      expect(JSON.parse(chunked.text)).toMatchObject({
        error: { message: expect.stringContaining("4 MiB") as string },
      });
      expect((await listener.ask("/health")).status).toBe(200);
    },
  );

  it("is not asked for before its head was judged", async () => {
    const head = (extra: string) =>
      `POST /mcp HTTP/1.1\r\nHost: localhost:${listener.port}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n` +
      `Expect: 100-continue\r\n${extra}\r\n`;
    expect(await raw(listener.port, head(""))).toMatch(/^HTTP\/1\.1 401 /);
    expect(await raw(listener.port, `${head(`Authorization: Bearer ${listener.token}\r\n`)}{}`)).toMatch(
      /^HTTP\/1\.1 100 /,
    );
  });

  it("of any bytes is answered with an error or an HTTP error status, and the listener keeps running", async () => {
    const session = await beginSession(listener);
    const shapes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record(
          {
            jsonrpc: fc.constantFrom("2.0", "1.0", 2),
            id: fc.jsonValue(),
            method: fc.jsonValue(),
            params: fc.jsonValue(),
          },
          { requiredKeys: [] },
        )
        .map((message) => Buffer.from(JSON.stringify(message))),
    );
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.constantFrom("/mcp", "/messages", `/messages?sessionId=${session}`),
        fc.constantFrom<Record<string, string>>(
          {},
          { "mcp-session-id": session },
          { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list" },
        ),
        async (body, target, headers) => {
          const { status, text } = await listener.ask(target, { raw: body, headers });
          // Notifications and answers to nothing are accepted and come to nothing; nothing else is.
          if (status === 202) expect(text).toBe("");
          else if (status === 200) expect(text).toContain('"error"');
          else {
            expect(status).toBeGreaterThanOrEqual(400);
            expect(status).toBeLessThan(500);
            expect(JSON.parse(text)).toMatchObject({ error: { message: expect.any(String) as string } });
          }
        },
      ),
      { numRuns: 300 },
    );
    expect((await listener.ask("/health")).status).toBe(200);
  });

  it.each(["/mcp", "/messages"])("that nests a million deep is refused at %s before it is parsed", async (target) => {
    const answer = await listener.ask(target, { raw: "[".repeat(1_000_000) + "]".repeat(1_000_000) });
    expect([answer.status, JSON.parse(answer.text)]).toEqual([
      400,
      { jsonrpc: "2.0", id: null, error: { code: -32_600, message: "the body nests deeper than 128 levels" } },
    ]);
    expect((await listener.ask("/health")).status).toBe(200);
  });
});

it("never sends or logs the token", async () => {
  const listener = await startListener();
  await beginSession(listener);
  await listener.ask("/health");
  await listener.ask("/mcp", { headers: { authorization: "Bearer wrong" } });
  expect(listener.logged.join("\n")).not.toContain(listener.token);
  expect(await readFile(listener.listener.tokenFile, "utf8")).toContain(listener.token);
  await listener.close();
});

/** What comes back until the server closes or has said enough. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      said += chunk;
      if (said.includes("\r\n\r\n")) {
        socket.destroy();
        resolve(said);
      }
    });
    socket.once("end", () => resolve(said));
    socket.once("error", reject);
  });
}
