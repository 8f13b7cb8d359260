import { once } from "node:events";
import { type IncomingHttpHeaders, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { type TestListenerSetup, ask, startListener } from "../http/listener-fixture.ts";

interface Received {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const packed = gzipSync('{"id":"msg_1"}');

/** A service that records what arrives; `/v1/broken` breaks off in the middle of its answer. */
async function service() {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", rawHeaders, headers } = request;
      received.push({ method, url, rawHeaders, headers, body: Buffer.concat(chunks) });
      if (url.startsWith("/v1/moved")) return response.writeHead(307, { location: "https://elsewhere.example/" }).end();
      if (url.startsWith("/v1/broken")) return response.write("half", () => response.destroy());
      response.writeHead(200, "Fine", {
        "content-encoding": "gzip",
        "x-request-id": "req_1",
        "set-cookie": ["a=1", "b=2"],
      });
      response.end(packed);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

async function door(upstream: string, setup: TestListenerSetup = {}) {
  const settings = {
    doors: ["anthropic" as const, "openai" as const],
    upstreams: { anthropic: upstream, openai: upstream },
    modelNames: { "claude-haiku-*": "ollm/fast" },
    ...setup.settings,
  };
  const listener = await startListener({ ...setup, settings });
  onTestFinished(() => listener.close());
  return listener;
}

const turn =
  '{ "model": "claude-opus-5",\n  "messages": [{"role":"user","content":"caf\\u00e9 ☕"}], "stream": false }';

describe("requests for other models pass to http.upstreams", () => {
  test("body, path and headers are the program's own to the byte; our token stays here", async () => {
    const { url, received } = await service();
    const { port, token, logged } = await door(url);
    const answer = await ask(port, "/v1/messages?beta=true", token, {
      raw: turn,
      headers: {
        authorization: "Bearer sk-ant-secret",
        "ollm-token": token,
        "anthropic-version": "2023-06-01",
        "X-Stainless-Lang": "js",
      },
    });
    expect(answer.status).toBe(200);
    expect(answer.headers["x-request-id"]).toBe("req_1");
    expect(answer.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
    expect(answer.headers["content-encoding"]).toBe("gzip");
    const [got] = received;
    expect(got?.body.equals(Buffer.from(turn))).toBe(true);
    expect(got?.url).toBe("/v1/messages?beta=true");
    expect(got?.rawHeaders).toContain("X-Stainless-Lang");
    expect(got?.headers.authorization).toBe("Bearer sk-ant-secret");
    expect(JSON.stringify(got?.rawHeaders)).not.toContain(token);
    expect(logged.join("\n")).not.toMatch(/sk-ant-secret|café/);
  });

  test("a name of ours, or one that http.modelNames maps, is answered here and never passes", async () => {
    const { url, received } = await service();
    const asked: (string | undefined)[] = [];
    const plain = createFakeOrchestrator();
    const { port, token } = await door(url, {
      orchestrator: {
        ...plain,
        generate: (caller, request) => {
          asked.push(request.profile ?? request.model ?? "auto");
          throw new Error("no model");
        },
      },
    });
    for (const model of ["ollm/code", "ollm/auto", "claude-haiku-5"]) {
      const body = { model, max_tokens: 5, messages: [{ role: "user", content: "x" }] };
      const { status } = await ask(port, "/v1/messages", token, { body });
      expect(status).not.toBe(200);
    }
    expect(received).toEqual([]);
  });

  test.each<[string, string, Readonly<Record<string, unknown>>]>([
    ["in a malformed path", "/v1/models/ollm/f%E0%A4%A", { method: "GET" }],
    ["in a path that no route has", "/v1/engines/ollm%2Ffast/completions", { method: "GET" }],
    ["in the query", "/v1/realtime?model=ollm%2Ffast", { method: "GET" }],
    ["in a list", "/v1/chat/completions", { body: [{ model: "ollm/fast", messages: [] }] }],
    ["of a session", "/v1/realtime/client_secrets", { body: { session: { model: "ollm/fast" } } }],
    ["of a batch", "/v1/messages/batches", { body: { requests: [{ params: { model: "ollm/fast" } }] } }],
    ["in capitals", "/v1/chat/completions", { body: { model: "OLLM/fast", messages: [] } }],
    ["after a space", "/v1/chat/completions", { body: { model: " ollm/fast", messages: [] } }],
    ["alone", "/v1/chat/completions", { body: { model: "ollm", messages: [] } }],
  ])("a name of ours %s never passes", async (_where, path, asked) => {
    const { url, received } = await service();
    const { port, token } = await door(url);
    const headers = { authorization: "Bearer key", "ollm-token": token };
    expect((await ask(port, path, token, { ...asked, headers })).status).toBeGreaterThanOrEqual(400);
    expect(received).toEqual([]);
  });

  test("what another ollm says of itself stays here", async () => {
    const { url, received } = await service();
    const { port, token } = await door(url);
    await ask(port, "/v1/messages", token, { raw: turn, headers: { "ollm-token": token, "ollm-engine": "another" } });
    expect(received[0]?.headers).not.toHaveProperty("ollm-engine");
  });

  test("a listener with doors of its own, as ollm launch has, passes nothing on", async () => {
    const { url, received } = await service();
    const { port, token } = await door(url, { doors: ["anthropic"] });
    const body = { model: "coder:3b", max_tokens: 5, messages: [{ role: "user", content: "x" }] };
    for (const headers of [{}, { authorization: "Bearer k", "ollm-token": token }]) {
      const { status, text } = await ask(port, "/v1/messages", token, { body, headers });
      expect([status, text]).not.toEqual([401, expect.anything()]);
    }
    expect(received).toEqual([]);
  });

  test("without a key of its own the token stands in its place, and nothing is sent", async () => {
    const { url, received } = await service();
    const { port, token } = await door(url);
    const { status, text } = await ask(port, "/v1/messages", token, { raw: turn });
    expect(status).toBe(401);
    expect(text).toContain("ollm-token");
    const foreign = { authorization: "Bearer sk-ant-secret" };
    expect((await ask(port, "/v1/messages", token, { raw: turn, headers: foreign })).status).toBe(401);
    expect(received).toEqual([]);
  });

  test("redirects are the program's to follow, and half an answer does not look whole", async () => {
    const { url } = await service();
    const { port, token } = await door(url);
    const headers = { authorization: "Bearer k", "ollm-token": token };
    const moved = await ask(port, "/v1/moved", token, { raw: turn, headers });
    expect([moved.status, moved.headers.location]).toEqual([307, "https://elsewhere.example/"]);
    await expect(ask(port, "/v1/broken", token, { raw: turn, headers })).rejects.toThrow();
  });

  test("an upstream that is this listener itself is refused, so that no request goes in a circle", async () => {
    const upstreams = { openai: "", anthropic: "" };
    const { port, token } = await door("", { settings: { upstreams } });
    upstreams.openai = `http://localhost:${port}`;
    const headers = { authorization: "Bearer k", "ollm-token": token };
    const answer = await ask(port, "/v1/chat/completions", token, { raw: turn, headers });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain(`ollm itself answers at localhost:${port}`);
  });

  test("a service that does not respond is a 503 that names it", async () => {
    const { port, token } = await door("http://127.0.0.1:9");
    const headers = { authorization: "Bearer k", "ollm-token": token };
    const { status, text } = await ask(port, "/v1/chat/completions", token, { raw: turn, headers });
    expect(status).toBe(503);
    expect(text).toContain("127.0.0.1:9 does not respond");
  });
});
