/** Sentences of docs/apis.md and of the protocols that no test of a single API shows. */
import Anthropic from "@anthropic-ai/sdk";
import { request as requestHttp } from "node:http";
import type { APIError } from "openai";
import { describe, expect, it, onTestFinished } from "vitest";
import { QueueFull } from "../../../src/orchestrator/api/errors.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { startListener } from "../http/listener-fixture.ts";
import { createGate } from "../../support/fake-engine.ts";
import { openScripted, plain } from "./anthropic-fixture.ts";
import { inPieces, openAiAgainst } from "./openai-client.ts";

const hi = [{ role: "user" as const, content: "Hi" }];
const chat = { model: "able:1b", messages: hi };

describe("who may call", () => {
  it("shows the token as Authorization: Bearer or as x-api-key, as each official client sends it", async () => {
    const { listener } = await openScripted(async () => ({ text: "Hi." }));
    const baseURL = `http://127.0.0.1:${listener.port}`;
    for (const [key, status] of [
      [listener.token, 200],
      ["wrong", 401],
    ] as const) {
      const client = new Anthropic({ baseURL, apiKey: key, authToken: null, maxRetries: 0 });
      const { response } = await client.messages
        .create(plain)
        .withResponse()
        .catch((error: unknown) => ({ response: { status: (error as { status: number }).status } }));
      expect(response.status).toBe(status);
    }
  });

  it("is no page of another Origin, and asks for no other Host", async () => {
    const { listener } = await openAiAgainst();
    for (const headers of [{ origin: "https://evil.example" }, { host: "evil.example" }]) {
      const { status, text } = await listener.ask("/v1/chat/completions", { body: chat, headers });
      expect([status, JSON.parse(text)]).toMatchObject([403, { error: { code: "forbidden" } }]);
      expect((await listener.ask("/v1/models", { headers })).headers).not.toHaveProperty("access-control-allow-origin");
    }
  });

  it("names a model whose address is malformed, and is told that it isn't served", async () => {
    const { listener } = await openAiAgainst();
    expect((await listener.ask("/v1/models/%zz")).status).toBe(404);
  });

  it("reaches nothing while http.doors names nothing", async () => {
    const { listener } = await openAiAgainst({ http: { doors: [] } });
    for (const path of ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/v1/embeddings"])
      expect((await listener.ask(path, { body: chat })).status).toBe(404);
  });
});

describe("what an answer says of itself", () => {
  it("is in the headers of a whole answer, and of a stream in its headers and trailers", async () => {
    const { listener } = await openAiAgainst({ engine: { pricesOf: () => price } });
    const whole = await listener.ask("/v1/chat/completions", { body: chat });
    const number = expect.stringMatching(/^\d+$/) as string;
    const first = { "ollm-model": "able:1b", "ollm-reason": expect.any(String) as string, "ollm-queue-ms": number };
    const last = { "ollm-cached-tokens": "32", "ollm-cost": expect.stringMatching(/ USD$/) as string };
    expect(whole.headers).toMatchObject({ ...first, ...last, "ollm-load-ms": number });
    const asked = { host: "127.0.0.1", port: listener.port, path: "/v1/chat/completions", method: "POST" };
    const headers = { authorization: `Bearer ${listener.token}`, "content-type": "application/json" };
    const stream = await new Promise<object>((resolve, reject) => {
      const request = requestHttp({ ...asked, headers, agent: false }, (response) => {
        response.resume();
        response.once("end", () => resolve({ headers: response.headers, trailers: response.trailers }));
      });
      request.once("error", reject).end(JSON.stringify({ ...chat, stream: true }));
    });
    expect(stream).toMatchObject({ headers: { ...first, trailer: "ollm-cached-tokens, ollm-cost" }, trailers: last });
  });
});

const price = { currency: "USD", inputPerMillion: 1, outputPerMillion: 1, date: "2026-11-01" };

describe("what can't be answered", () => {
  it("is a 429 with Retry-After in a full queue; those before it are answered", async () => {
    const gate = createGate();
    const { client, asked } = await openAiAgainst({
      settings: { queue: { maxWaiting: 1 } },
      answer: async (request, sink, signal) => {
        await gate.pass(signal);
        return await inPieces(["Hello"])(request, sink, signal);
      },
    });
    const all = Array.from({ length: 12 }, async () => await client.chat.completions.create(chat));
    const refused: unknown = await Promise.race(all.map(async (each) => await each.catch((error: unknown) => error)));
    expect(refused).toMatchObject({ status: 429, code: "rate_limit_exceeded" });
    expect(Number((refused as APIError).headers?.get("retry-after"))).toBeGreaterThan(0);
    gate.open();
    const ended = await Promise.allSettled(all);
    expect(ended.filter(({ status }) => status === "fulfilled").length).toBe(asked.length);
    expect(asked.length).toBeGreaterThan(0);
  });

  it("is a 429 with Retry-After in a full queue for Ollama's programs, too, which get a 503 from Ollama", async () => {
    const generate = () => Promise.reject(new QueueFull("the queue is full", { retryAfterMs: 2_100 }));
    const listener = await startListener({
      orchestrator: createFakeOrchestrator({ generate }),
      settings: { doors: ["ollama"] },
    });
    onTestFinished(() => listener.close());
    const { status, headers, text } = await listener.ask("/api/chat", { body: { model: "able:1b", messages: hi } });
    expect([status, headers["retry-after"]]).toEqual([429, "3"]);
    expect(JSON.parse(text)).toEqual({ error: expect.stringContaining("the queue is full") });
  });

  it("is a 402 where the budget of a paid engine is spent", async () => {
    const { client } = await openAiAgainst({ engine: { pricesOf: () => price, monthlyBudget: 0.000_000_1 } });
    const failed: unknown = await client.chat.completions
      .create({ ...chat, max_tokens: 9 })
      .catch((error: unknown) => error);
    expect(failed).toMatchObject({ status: 402, code: "insufficient_quota", type: "insufficient_quota" });
  });

  it("never leaves this machine under privacy: local_only", async () => {
    const { client, asked } = await openAiAgainst({ engine: { trust: "remote" } });
    for (const asking of [
      client.chat.completions.create(chat),
      client.responses.create({ model: "able:1b", input: "Hi" }),
      client.embeddings.create({ model: "minilm", input: "a" }),
    ])
      await expect(asking).rejects.toMatchObject({ status: 403, code: "privacy_locked" });
    expect(asked).toEqual([]);
  });

  it("is refused before anything is asked: bodies that are cut off, empty, of another type", async () => {
    const { listener, asked } = await openAiAgainst();
    for (const raw of ['{"model":', "", "[]", '"Hi"', "null"]) {
      const { status, text } = await listener.ask("/v1/chat/completions", { raw });
      expect([raw, status]).toEqual([raw, 400]);
      expect(JSON.parse(text)).toMatchObject({ error: { type: "invalid_request_error" } });
    }
    expect(asked).toEqual([]);
  });
});

it("the window of a model is chosen by need: that of a long prompt holds it and its answer", async () => {
  const { client, asked } = await openAiAgainst();
  await client.chat.completions.create({ ...chat, max_tokens: 100 });
  const messages = [{ role: "user" as const, content: "word ".repeat(12_000) }];
  await client.chat.completions.create({ ...chat, messages, max_tokens: 100 });
  const [few = 0, many = 0] = asked.map(({ contextTokens }) => contextTokens);
  expect(few).toBeLessThan(12_000);
  expect(many).toBeGreaterThan(12_100);
  expect(asked[1]?.messages[0]?.content).toHaveLength(60_000);
});
