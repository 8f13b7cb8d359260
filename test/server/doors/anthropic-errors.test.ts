import Anthropic, { type APIError } from "@anthropic-ai/sdk";
import { describe, expect, test } from "vitest";
import {
  BudgetExceeded,
  CheckFailed,
  EngineUnreachable,
  GenerationFailed,
  ModelDoesNotFit,
  PrivacyLocked,
  QueueFull,
} from "../../../src/orchestrator/api/errors.ts";
import { createFakeOrchestrator } from "../../support/fake-orchestrator.ts";
import { clientOf, failureOf, hello, openDoor, openScripted, plain, weather } from "./anthropic-fixture.ts";

const messageIn = ({ error }: APIError): string => (error as { error: { message: string } }).error.message;

describe("a request that can't be answered as it is gets a 400 that says what", () => {
  const user = (...content: object[]) => ({ messages: [{ role: "user", content }] });
  test.each([
    [
      "an image by its address",
      user({ type: "image", source: { type: "url", url: "https://a.example/b.png" } }),
      /source of type "url"/,
    ],
    [
      "an image that is none",
      user({ type: "image", source: { type: "base64", media_type: "image/png", data: "§" } }),
      /data: is not base64/,
    ],
    [
      "a PDF",
      user({ type: "document", source: { type: "base64", media_type: "application/pdf", data: "JVBERg==" } }),
      /document with a source of type "base64"/,
    ],
    [
      "a block of a service's tool",
      user({ type: "web_search_tool_result", tool_use_id: "a", content: [] }),
      /block of type "web_search_tool_result"/,
    ],
    [
      "a tool that runs at Anthropic",
      { tools: [{ type: "web_search_20250305", name: "web_search" }] },
      /tools\.0\.type: web_search_20250305 is a tool that Anthropic defines/,
    ],
    [
      "a server of tools",
      { mcp_servers: [{ type: "url", url: "https://a.example", name: "a" }] },
      /Anthropic's servers would ask it/,
    ],
    [
      "the beginning of an answer",
      { messages: [hello, { role: "assistant", content: "He" }] },
      /last one must be the user's/,
    ],
    [
      "a result of no call",
      user({ type: "tool_result", tool_use_id: "x", content: "" }),
      /no tool_use before it has the id "x"/,
    ],
    ["a thread that a server keeps", { thread: { type: "create" } }, /^thread: conversations are not kept here/],
    ["no messages", { messages: [] }, /^messages: /],
    ["a number as text", { max_tokens: "many" }, /^max_tokens: /],
    ["an unknown role", { messages: [{ role: "tool", content: "x" }] }, /^messages\.0\.role: /],
    ["no name of a model", { model: undefined }, /^model: /],
  ])("%s", async (_name, more, expected) => {
    const { client, sent } = await openScripted(async () => ({ text: "" }));
    const failed = await failureOf(client.messages.create({ ...plain, ...more } as never));
    expect(failed).toBeInstanceOf(Anthropic.BadRequestError);
    expect(failed.type).toBe("invalid_request_error");
    expect(messageIn(failed)).toMatch(expected);
    expect(sent).toEqual([]);
  });
});

describe("errors are those of Anthropic's client", () => {
  test("a wrong key, a model that is not there", async () => {
    const { client, listener } = await openScripted(async () => ({ text: "" }));
    const stranger = await failureOf(clientOf(listener, { authToken: "wrong" }).messages.create(plain));
    expect(stranger).toBeInstanceOf(Anthropic.AuthenticationError);
    expect(stranger.type).toBe("authentication_error");
    const unknown = await failureOf(client.messages.create({ ...plain, model: "codr:7b" }));
    expect(unknown).toBeInstanceOf(Anthropic.NotFoundError);
    expect(unknown.type).toBe("not_found_error");
    expect(messageIn(unknown)).toContain("coder:7b");
    const profile = await failureOf(client.messages.create({ ...plain, model: "ollm/none" }));
    expect(profile).toBeInstanceOf(Anthropic.NotFoundError);
    expect(messageIn(profile)).toContain("none");
  });

  test.each([
    [new QueueFull("the queue is full", { retryAfterMs: 7_000 }), 429, "rate_limit_error", { "retry-after": "7" }],
    [new QueueFull("the queue is full"), 429, "rate_limit_error", { "retry-after": "5" }],
    [new BudgetExceeded("the budget is spent"), 402, "billing_error", {}],
    [new PrivacyLocked("it would leave this machine"), 403, "permission_error", {}],
    [new EngineUnreachable("ollama does not respond"), 503, "overloaded_error", {}],
    [new ModelDoesNotFit("it needs 90 GB"), 503, "api_error", { "x-should-retry": "false" }],
    [new CheckFailed("it called nothing", { text: "" }), 500, "api_error", { "x-should-retry": "false" }],
    [new GenerationFailed("it broke"), 500, "api_error", {}],
    [new Error("of the inside"), 500, "api_error", {}],
  ])("%s", async (thrown, status, type, headers) => {
    const { client } = await openDoor(createFakeOrchestrator({ generate: () => Promise.reject(thrown) }));
    for (const stream of [false, true]) {
      const failed = await failureOf(client.messages.create({ ...plain, stream }));
      expect(failed).toMatchObject({ status, type });
      expect(Object.fromEntries(failed.headers ?? [])).toMatchObject(headers);
      expect(messageIn(failed)).toContain(thrown.message === "of the inside" ? "internal error" : thrown.message);
    }
  });

  test("a prompt that is too long is refused in the words that Claude Code knows", async () => {
    const { client, sent } = await openScripted(async () => ({ text: "" }));
    const messages = [{ role: "user" as const, content: "word ".repeat(200_000) }];
    const failed = await failureOf(client.messages.create({ ...plain, messages }));
    expect(failed).toBeInstanceOf(Anthropic.BadRequestError);
    expect(messageIn(failed)).toMatch(/^prompt is too long: \d{6} tokens > 32768 maximum\. /);
    expect(sent).toEqual([]);
    const { input_tokens: counted } = await client.messages.countTokens({ model: "coder:7b", messages });
    expect(counted).toBeGreaterThan(200_000);
  });
});

describe("tokens of a prompt", () => {
  test("cached tokens are null where the engine tells none", async () => {
    const { client } = await openScripted(async () => ({ text: "Hi.", promptTokens: 20 }));
    const usage = { input_tokens: 20, cache_read_input_tokens: null };
    expect((await client.messages.create(plain)).usage).toMatchObject(usage);
    const { response } = await client.messages.create(plain).withResponse();
    expect(response.headers.has("ollm-cached-tokens")).toBe(false);
    expect((await client.messages.stream(plain).finalMessage()).usage).toMatchObject(usage);
  });

  test("are counted by the engine's tokenizer, and no model is loaded for it", async () => {
    const { client, engine, sent } = await openScripted(async () => ({ text: "" }), {
      tokenizer: {
        count: async () => undefined,
        countPrompt: async ({ messages, tools = [] }) => 1_000 * tools.length + messages.length,
      },
    });
    const given = { model: "coder:7b", messages: [hello], system: "Be brief." };
    expect(await client.messages.countTokens(given)).toEqual({ input_tokens: 2 });
    expect(await client.messages.countTokens({ ...given, tools: [weather] })).toEqual({ input_tokens: 1_002 });
    expect(engine.calls).toEqual([]);
    expect(sent).toEqual([]);
  });

  test("are estimated where there is none, tools included", async () => {
    const { client } = await openScripted(async () => ({ text: "" }));
    const count = async (more: object) =>
      (await client.messages.countTokens({ model: "ollm/auto", messages: [hello], ...more })).input_tokens;
    const [few, more] = [await count({}), await count({ tools: [weather] })];
    expect(few).toBeGreaterThan(0);
    expect(more).toBeGreaterThan(few + 20);
  });
});

describe("lists of models", () => {
  test("have our names and those of the engines", async () => {
    const { client } = await openScripted(async () => ({ text: "" }));
    const ids: string[] = [];
    for await (const { id, type } of client.models.list()) ids.push(`${type} ${id}`);
    expect(ids).toEqual(
      expect.arrayContaining(["model ollm/auto", "model ollm/code", "model coder:7b", "model plain:1b"]),
    );
    expect(await client.models.retrieve("plain:1b")).toMatchObject({
      id: "plain:1b",
      type: "model",
      display_name: "plain:1b",
    });
    expect(await client.models.retrieve("ollm/code")).toMatchObject({ id: "ollm/code" });
    expect(await client.models.retrieve("ollm/auto")).toMatchObject({ id: "ollm/auto" });
    for (const name of ["plane:1b", "ollm/none"]) {
      const failed = await failureOf(client.models.retrieve(name));
      expect([400, 404]).toContain(failed.status);
    }
  });

  test("whether there is a server is answered without a token, and nothing else", async () => {
    const { listener } = await openScripted(async () => ({ text: "" }));
    const headers = { authorization: undefined };
    expect(await listener.ask("/", { method: "HEAD", headers })).toMatchObject({ status: 200, text: "" });
    expect(await listener.ask("/", { headers })).toMatchObject({ status: 200, text: '{"ok":true}' });
    expect((await listener.ask("/", { body: {}, headers })).status).toBe(401);
    expect((await listener.ask("/v1/models", { headers })).status).toBe(401);
    expect((await listener.ask("/", { method: "HEAD", headers: { ...headers, host: "evil.example" } })).status).toBe(
      403,
    );
  });
});
