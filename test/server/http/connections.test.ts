import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import type { GenerateResult } from "../../../src/orchestrator/api/facade.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../../support/fake-orchestrator.ts";
import { handClock } from "../../support/hand-clock.ts";
import {
  type TestListener,
  beginSession,
  idleConnection,
  openStream,
  sockets,
  startListeners,
} from "./listener-fixture.ts";

const start = startListeners();

const list = { jsonrpc: "2.0", id: 1, method: "tools/list" } as const;
const generate = {
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: { name: "route_and_generate", arguments: { prompt: "Hi" }, _meta: { progressToken: 1 } },
} as const;

describe("connections", () => {
  it("are bounded: two thousand silent ones neither exhaust the listener nor lock out a caller with the token", async () => {
    const listener = await start({ limits: { maxConnections: 64 } });
    // A hundred at a time: what the system's own queue drops would count as open here for ever.
    for (let batch = 0; batch < 20; batch += 1) {
      await Promise.all(Array.from({ length: 100 }, () => idleConnection(listener.port)));
    }
    const answer = await listener.ask("/health");
    expect(answer.status).toBe(200);
    await expect.poll(() => sockets.filter((socket) => !socket.destroyed).length).toBeLessThanOrEqual(64);
  });

  it("at work are not cut to make room; the newcomer gets a 503", async () => {
    const listener = await start({ limits: { maxConnections: 2 } });
    const session = await beginSession(listener);
    const streams = [
      await openStream(listener, { "mcp-session-id": session }),
      await openStream(listener, {}, undefined, "/sse"),
    ];
    const refused = await listener.ask("/health");
    expect(refused.status).toBe(503);
    expect(JSON.parse(refused.text)).toMatchObject({ jsonrpc: "2.0", error: { code: -32_000 } });
    expect(streams.map(({ response }) => response.destroyed)).toEqual([false, false]);
    for (const { response } of streams) response.destroy();
    await expect.poll(async () => (await listener.ask("/health")).status).toBe(200);
  });

  it("that never finish their head are closed", { timeout: 20_000 }, async () => {
    const listener = await start();
    const socket = await idleConnection(listener.port);
    socket.write(`GET /health HTTP/1.1\r\nHost: localhost:${listener.port}\r\nX-Slow: `);
    const drip = setInterval(() => socket.write("x"), 500);
    const said = await new Promise<string>((resolve) => {
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
      socket.once("close", () => resolve(text));
    });
    clearInterval(drip);
    expect(said).toContain(" 408 ");
  });

  it("with more than 200 headers are refused with 431, and with 200 they are not", async () => {
    const listener = await start();
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, "1"]));
    // Node's client adds Host and Connection, `ask` Authorization and Accept.
    expect((await listener.ask("/health", { headers: many(196) })).status).toBe(200);
    const refused = await listener.ask("/health", { headers: many(197) });
    expect([refused.status, refused.text]).toEqual([431, expect.stringContaining("201 headers")]);
    expect((await listener.ask("/health", { headers: many(2_500) })).status).toBe(431);
  });

  it("with a head of more than 16 KiB are refused", async () => {
    const listener = await start();
    const answer = await listener.ask("/health", { headers: { "x-long": "x".repeat(17 * 1024) } });
    expect(answer.status).toBe(431);
  });
});

describe("Connection: close", () => {
  it.each([
    ["an answer", "POST", list],
    ["a stream of events", "POST", generate],
    ["an error", "DELETE", undefined],
  ])("is obeyed after %s", async (what, method, body) => {
    const orchestrator = createFakeOrchestrator({
      async generate() {
        const operation = drivenOperation<GenerateResult>();
        operation.succeed(generated);
        return operation;
      },
    });
    const listener = await start({ orchestrator });
    const session = what === "an error" ? "unknown" : await beginSession(listener);
    const content = body === undefined ? "" : JSON.stringify(body);
    const socket = await idleConnection(listener.port);
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const ended = new Promise((resolve) => socket.once("end", resolve));
    socket.write(
      `${method} /mcp HTTP/1.1\r\nHost: localhost:${listener.port}\r\nAuthorization: Bearer ${listener.token}\r\n` +
        `Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nMcp-Session-Id: ${session}\r\n` +
        `Connection: close\r\nContent-Length: ${Buffer.byteLength(content)}\r\n\r\n${content}`,
    );
    await ended;
    expect(text).toMatch(/^connection: close\r$/im);
    expect(text).not.toMatch(/^connection: keep-alive/im);
  });
});

describe("the dashboard's open routes, asked by a program without the token", () => {
  /** A `POST /dashboard/session` of which one byte is sent; resolves when the listener has read its head. */
  async function slowPost({ port }: TestListener): Promise<Socket> {
    const socket = await idleConnection(port);
    const continued = new Promise<void>((resolve) => {
      socket.once("data", () => resolve());
      socket.once("close", () => resolve());
    });
    socket.write(
      `POST /dashboard/session HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Type: application/json\r\n` +
        "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n",
    );
    await continued;
    if (!socket.destroyed) socket.write("{");
    return socket;
  }

  const pageRequest = ({ port }: TestListener): string => `GET /dashboard HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`;

  it("lock out no caller with the token: slow posts on every connection", async () => {
    const listener = await start({ limits: { maxConnections: 20 } });
    for (let count = 0; count < 85; count++) await slowPost(listener);
    const statuses = await Promise.all(Array.from({ length: 15 }, async () => (await listener.ask("/health")).status));
    expect(statuses).toEqual(Array.from({ length: 15 }, () => 200));
  });

  it("hold at most 16 requests open: the oldest is closed for the next", async () => {
    const listener = await start();
    const posts: Socket[] = [];
    for (let count = 0; count < 40; count++) posts.push(await slowPost(listener));
    await expect
      .poll(() => posts.map((socket) => !socket.destroyed))
      .toEqual([...Array.from({ length: 24 }, () => false), ...Array.from({ length: 16 }, () => true)]);
  });

  it("take a body of 1 KiB, within 5 seconds", async () => {
    const clock = handClock();
    const listener = await start({ timers: clock });
    const sent = async (bytes: number, headers: Record<string, string | undefined> = {}) => {
      const given = { authorization: undefined, ...headers };
      const { status, text } = await listener.ask("/dashboard/session", {
        raw: Buffer.alloc(bytes, " "),
        headers: given,
      });
      return [status, (JSON.parse(text) as { error: { message: string } }).error.message];
    };
    const tooLarge = [413, "the body exceeds the limit of 1 KiB"];
    expect(await sent(1_024)).toEqual([400, "the body is not JSON"]);
    expect(await sent(1_025)).toEqual(tooLarge);
    expect(await sent(4 * 2 ** 20)).toEqual(tooLarge);
    const chunked = { "content-length": undefined, "transfer-encoding": "chunked" };
    expect(await sent(100_000, chunked)).toEqual(tooLarge);
    const socket = await slowPost(listener);
    let said = "";
    socket.on("data", (chunk: Buffer) => (said += chunk.toString()));
    clock.advance(4_999);
    expect((await listener.ask("/dashboard", { headers: { authorization: undefined } })).status).toBe(200);
    expect(said).toBe("");
    clock.advance(1);
    await expect.poll(() => said).toMatch(/^HTTP\/1.1 408 [^]*the body did not arrive within 5 seconds/);
  });

  it("answer no more than 16 requests at once on a connection", async () => {
    const listener = await start();
    const socket = await idleConnection(listener.port);
    socket.pause();
    socket.write(pageRequest(listener).repeat(500));
    await expect.poll(() => listener.logged.join("\n")).toContain("too many requests at once");
  });

  it("do not wait for a program that does not read the page", async () => {
    const listener = await start({ streamLimits: { maxUnreadBytes: 1_000_000, maxStallMs: 10 } });
    const socket = await idleConnection(listener.port);
    socket.pause();
    // The system takes the first pages into its buffers.
    for (let count = 0; count < 1_000 && !listener.logged.join("\n").includes("for too long"); count++) {
      socket.write(pageRequest(listener));
      await listener.ask("/health");
    }
    expect(listener.logged.join("\n")).toContain("for too long");
  });
});
