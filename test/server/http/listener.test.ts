import { describe, expect, it } from "vitest";
import { InvalidRequest } from "../../../src/orchestrator/api/errors.ts";
import { createFakeOrchestrator, drivenOperation, generated } from "../../support/fake-orchestrator.ts";
import type { GenerateResult } from "../../../src/orchestrator/api/facade.ts";
import {
  beginSession,
  eventsOf,
  initializeMessage,
  openStream,
  startListener,
  startListeners,
} from "./listener-fixture.ts";

const start = startListeners();

const list = { jsonrpc: "2.0", id: 1, method: "tools/list" } as const;
const call = (name: string, input: object, id = 1, meta?: object) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: { name, arguments: input, ...(meta !== undefined && { _meta: meta }) },
});

describe("the HTTP listener", () => {
  it("says which port is in use, and what to do", async () => {
    const listener = await start();
    const taken: unknown = await startListener({ port: listener.port }).catch((error: unknown) => error);
    expect(taken).toBeInstanceOf(InvalidRequest);
    expect(String(taken)).toContain(`127.0.0.1 port ${listener.port} is already in use`);
    expect((taken as InvalidRequest).next).toMatchObject([{ step: "changeArgument", argument: "port" }]);
  });

  it("takes no connection any more once it is closed, and ends those that are open", async () => {
    const listener = await startListener();
    const session = await beginSession(listener);
    const stream = listener.ask("/mcp", { headers: { "mcp-session-id": session } });
    const ended = stream.then(
      ({ text }) => text,
      () => "cut",
    );
    await listener.ask("/health");
    await listener.close();
    expect(await ended).not.toContain("error");
    await expect(listener.ask("/health")).rejects.toThrow("ECONNREFUSED");
  });

  it("tells a browser without the token how the dashboard is opened", async () => {
    const listener = await start();
    const headers = { authorization: undefined, accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
    for (const target of ["/", "/mcp", "/index.html"]) {
      const { status, text } = await listener.ask(target, { headers });
      expect([status, text]).toEqual([401, expect.stringContaining("run ollm dashboard in a terminal")]);
    }
    expect((await listener.ask("/", { headers: { authorization: undefined } })).text).not.toContain("dashboard");
  });
});

describe("a session", () => {
  it("begins with initialize under an id that we draw, and any other id is unknown", async () => {
    const listener = await start();
    const ids = await Promise.all([beginSession(listener), beginSession(listener)]);
    expect(new Set(ids).size).toBe(2);
    const own = await listener.ask("/mcp", { body: list, headers: { "mcp-session-id": ids[0] } });
    expect(own.status).toBe(200);
    for (const [method, body] of [
      ["POST", list],
      ["POST", { ...initializeMessage, id: 7 }],
      ["GET", undefined],
      ["DELETE", undefined],
    ] as const) {
      const given = {
        method,
        ...(body !== undefined && { body }),
        headers: { "mcp-session-id": "chosen-by-an-attacker" },
      };
      expect([method, (await listener.ask("/mcp", given)).status]).toEqual([method, 404]);
    }
    expect((await listener.ask("/mcp", { body: list })).status).toBe(400);
    expect((await listener.ask("/messages?sessionId=chosen", { body: list })).status).toBe(404);
    expect((await listener.ask("/messages", { body: list })).status).toBe(404);
    // Ids of one kind of session open nothing of the other.
    expect((await listener.ask(`/messages?sessionId=${ids[0]}`, { body: list })).status).toBe(404);
  });

  it("has a caller of its own, whose id is not the session's", async () => {
    const listener = await start();
    const ids = [await beginSession(listener), await beginSession(listener)];
    expect(new Set(listener.callers).size).toBe(3);
    expect(listener.callers.some((id) => ids.some((session) => id.includes(session)))).toBe(false);
  });

  it("sees nothing of another's: the same request ids, streams and event ids stay apart", async () => {
    const operations = new Map<string, ReturnType<typeof drivenOperation<GenerateResult>>>();
    const orchestrator = createFakeOrchestrator({
      async generate(_caller, { prompt }) {
        const operation = drivenOperation<GenerateResult>();
        operations.set(prompt, operation);
        started.get(prompt)?.();
        return operation;
      },
    });
    const started = new Map<string, () => void>();
    const begun = (prompt: string) => new Promise<void>((resolve) => started.set(prompt, resolve));
    const listener = await start({ orchestrator });
    const [one, other] = await Promise.all([beginSession(listener), beginSession(listener)]);
    const both = ["alpha", "beta"].map((prompt) => begun(prompt));
    const answers = [
      listener.ask("/mcp", {
        body: call("route_and_generate", { prompt: "alpha" }),
        headers: { "mcp-session-id": one },
      }),
      listener.ask("/mcp", {
        body: call("route_and_generate", { prompt: "beta" }),
        headers: { "mcp-session-id": other },
      }),
    ] as const;
    await Promise.all(both);
    operations.get("beta")?.succeed({ ...generated, text: "for beta" });
    operations.get("alpha")?.succeed({ ...generated, text: "for alpha" });
    const [first, second] = await Promise.all(answers);
    expect(first.text).toContain("for alpha");
    expect(first.text).not.toContain("for beta");
    expect(second.text).toContain("for beta");
    const foreignEvent = eventsOf(first.text)[0]?.id ?? "";
    expect(foreignEvent).not.toBe("");
    const replay = await listener.ask("/mcp", { headers: { "mcp-session-id": other, "last-event-id": foreignEvent } });
    expect(replay.status).toBe(400);
    expect(replay.text).not.toContain("for alpha");
  });

  it("is resumed after a broken connection: the answer waits and is sent again by Last-Event-ID", async () => {
    const operation = drivenOperation<GenerateResult>();
    const listener = await start({ orchestrator: createFakeOrchestrator({ generate: async () => operation }) });
    const session = await beginSession(listener);
    const headers = { "mcp-session-id": session, "mcp-protocol-version": "2025-11-25" };
    const broken = await openStream(listener, headers, call("route_and_generate", { prompt: "Hi" }));
    const firstId = await broken.firstEventId;
    const gone = new Promise((resolve) => broken.response.once("close", resolve));
    broken.response.destroy();
    await gone;
    operation.succeed(generated);
    await expect
      .poll(async () => (await listener.ask("/mcp", { headers: { ...headers, "last-event-id": firstId } })).text)
      .toContain("The capital of France is Paris.");
    expect(operation.ends).toEqual([]);
  });

  it("whose client does not come back lets go of its calls after the grace, and is forgotten", async () => {
    const operation = drivenOperation<GenerateResult>();
    const listener = await start({
      orchestrator: createFakeOrchestrator({ generate: async () => operation }),
      graceMs: 50,
    });
    const session = await beginSession(listener);
    const headers = { "mcp-session-id": session };
    const stream = await openStream(listener, headers, call("route_and_generate", { prompt: "Hi" }));
    await expect.poll(() => operation.followers()).toBe(1);
    stream.response.destroy();
    await expect.poll(() => operation.ends).toEqual(["disconnected"]);
    expect((await listener.ask("/mcp", { body: list, headers })).status).toBe(404);
  });

  it("that is unused ends after the idle time, and one with an open stream does not", async () => {
    const listener = await start({ limits: { idleMs: 3_000 } });
    const idle = await beginSession(listener);
    const used = await beginSession(listener);
    const stream = await openStream(listener, { "mcp-session-id": used });
    await expect
      .poll(
        async () =>
          (await listener.ask("/mcp", { method: "DELETE", headers: { "mcp-session-id": `${idle}x` } })).status,
      )
      .toBe(404);
    await expect.poll(() => listener.logged.filter((line) => line.includes("it was not used")).length).toBe(1);
    expect((await listener.ask("/mcp", { body: list, headers: { "mcp-session-id": idle } })).status).toBe(404);
    expect((await listener.ask("/mcp", { body: list, headers: { "mcp-session-id": used } })).status).toBe(200);
    stream.response.destroy();
  });

  it("ends at DELETE", async () => {
    const listener = await start();
    const headers = { "mcp-session-id": await beginSession(listener) };
    expect((await listener.ask("/mcp", { method: "DELETE", headers })).status).toBe(200);
    expect((await listener.ask("/mcp", { body: list, headers })).status).toBe(404);
  });

  it("is refused with a clear 503 while all, of either kind, are at work", async () => {
    const listener = await start({ limits: { maxSessions: 2 } });
    const session = await beginSession(listener);
    const stream = await openStream(listener, { "mcp-session-id": session });
    const sse = await openStream(listener, {}, undefined, "/sse");
    const third = await listener.ask("/mcp", { body: initializeMessage });
    expect([third.status, third.headers["retry-after"]]).toEqual([503, "30"]);
    expect(JSON.parse(third.text)).toMatchObject({
      error: { message: expect.stringContaining("too many sessions") as string },
    });
    expect((await listener.ask("/sse")).status).toBe(503);
    const closed = new Promise((resolve) => sse.response.once("close", resolve));
    sse.response.destroy();
    await closed;
    await expect.poll(async () => (await listener.ask("/mcp", { body: initializeMessage })).status).toBe(200);
    stream.response.destroy();
    await listener.ask("/mcp", { method: "DELETE", headers: { "mcp-session-id": session } });
    expect((await listener.ask("/mcp", { body: initializeMessage })).status).toBe(200);
  });

  it("that was abandoned gives way to new ones, oldest first, and one with a call under way never does", async () => {
    const operation = drivenOperation<GenerateResult>();
    const orchestrator = createFakeOrchestrator({ generate: async () => operation });
    const listener = await start({ orchestrator, limits: { maxSessions: 8 } });
    const working = { "mcp-session-id": await beginSession(listener) };
    const answered = listener.ask("/mcp", { headers: working, body: call("route_and_generate", { prompt: "Hi" }) });
    await expect.poll(() => operation.followers()).toBe(1);
    const ids: string[] = [];
    const statuses = new Set<number>();
    for (let count = 0; count < 130; count += 1) {
      const { status, headers } = await listener.ask("/mcp", { body: initializeMessage });
      statuses.add(status);
      ids.push(String(headers["mcp-session-id"]));
    }
    expect(statuses).toEqual(new Set([200]));
    const statusOf = async (id: string | undefined) =>
      (await listener.ask("/mcp", { body: list, headers: { "mcp-session-id": id } })).status;
    expect([await statusOf(ids[0]), await statusOf(ids.at(-8)), await statusOf(ids.at(-7))]).toEqual([404, 404, 200]);
    operation.succeed(generated);
    expect((await answered).text).toContain("The capital of France is Paris.");
  });
});

describe("/health", () => {
  it("tells what is wrong, beside that we live: an engine may answer everything and give no token", async () => {
    let problems: readonly string[] = [];
    const listener = await start({ problems: () => problems });
    const health = async () => JSON.parse((await listener.ask("/health")).text) as unknown;
    expect(await health()).toEqual({ ok: true, version: "0.0.0-test" });
    problems = ["ollama answers, but gave no token within 60 s: restart it"];
    expect(await health()).toEqual({ ok: true, version: "0.0.0-test", problems });
  });

  it("without a token says that we run and nothing else, to callers whose Host and Origin are served", async () => {
    const listener = await start({ problems: () => ["ollama answers, but gave no token within 60 s: restart it"] });
    const probe = (headers: Readonly<Record<string, string>> = {}, method = "GET") =>
      listener.ask("/health", { method, headers: { authorization: undefined, ...headers } });
    const answer = await probe();
    expect([answer.status, answer.text]).toEqual([200, '{"ok":true}']);
    expect((await probe({ origin: "https://evil.example" })).status).toBe(403);
    expect((await probe({ host: "evil.example" })).status).toBe(403);
    // A token that is given must be right, so that a client with an old one learns it.
    expect((await probe({ authorization: "Bearer wrong" })).status).toBe(401);
    expect((await probe({ authorization: "" })).status).toBe(401);
    expect((await probe({}, "POST")).status).toBe(401);
    expect((await listener.ask("/health/", { headers: { authorization: undefined } })).status).toBe(401);
    const open = await start({ isWithoutToken: true });
    expect((await open.ask("/health", { headers: { authorization: undefined } })).text).toContain("version");
  });
});

describe("a client that does not read", () => {
  const big = "x".repeat(200_000);

  it.each(["/mcp", "/sse"] as const)("is cut at %s before more than the bound piles up", async (kind) => {
    const orchestrator = createFakeOrchestrator({ generate: async () => done() });
    function done() {
      const operation = drivenOperation<GenerateResult>();
      operation.succeed({ ...generated, text: big });
      return operation;
    }
    const listener = await start({ orchestrator, streamLimits: { maxUnreadBytes: 1_000_000, maxStallMs: 60_000 } });
    const isSse = kind === "/sse";
    const headers: Record<string, string> = isSse ? {} : { "mcp-session-id": await beginSession(listener) };
    const stream = isSse
      ? await openStream(listener, headers, undefined, "/sse")
      : // Answers to a batch share one stream, which nobody reads.
        await openStream(
          listener,
          { ...headers, "mcp-protocol-version": "2025-03-26" },
          Array.from({ length: 90 }, (_, id) => call("route_and_generate", { prompt: "Hi" }, id + 1)),
        );
    const endpoint = isSse ? await stream.endpoint : "";
    stream.response.pause();
    if (isSse) {
      for (let id = 1; id <= 90; id += 1) {
        const { status } = await listener.ask(endpoint, { body: call("route_and_generate", { prompt: "Hi" }, id) });
        if (status === 404) break;
      }
    }
    await expect
      .poll(() => listener.logged.some((line) => line.includes("a stream was cut")), { timeout: 10_000 })
      .toBe(true);
    expect((await listener.ask("/health")).status).toBe(200);
  });
});

describe("too many requests of one session", () => {
  it("are refused with 429 too when they come in one body, or all under one id", async () => {
    const orchestrator = createFakeOrchestrator({ generate: async () => drivenOperation<GenerateResult>() });
    const listener = await start({ orchestrator });
    const session = await beginSession(listener);
    const headers = { "mcp-session-id": session, "mcp-protocol-version": "2025-03-26" };
    const many = Array.from({ length: 257 }, (_, id) => call("route_and_generate", { prompt: "Hi" }, id + 1));
    expect((await listener.ask("/mcp", { headers, body: many })).status).toBe(429);
    const sse = await openStream(listener, {}, undefined, "/sse");
    const endpoint = await sse.endpoint;
    await listener.ask(endpoint, { body: initializeMessage });
    const statuses = [];
    for (let count = 1; count <= 258; count += 1) {
      statuses.push((await listener.ask(endpoint, { body: call("route_and_generate", { prompt: "Hi" }, 7) })).status);
    }
    expect(statuses.at(-1)).toBe(429);
    // What ends requests is taken all the same.
    const cancelled = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 7 } };
    expect((await listener.ask(endpoint, { body: cancelled })).status).toBe(202);
  });

  it("are refused with 429 while the others wait", async () => {
    const orchestrator = createFakeOrchestrator({ generate: async () => drivenOperation<GenerateResult>() });
    const listener = await start({ orchestrator });
    const stream = await openStream(listener, {}, undefined, "/sse");
    const endpoint = await stream.endpoint;
    await listener.ask(endpoint, { body: initializeMessage });
    const statuses = [];
    for (let id = 1; id <= 258; id += 1) {
      statuses.push((await listener.ask(endpoint, { body: call("route_and_generate", { prompt: "Hi" }, id) })).status);
    }
    expect(new Set(statuses)).toEqual(new Set([202, 429]));
    expect(statuses.at(-1)).toBe(429);
  });
});
