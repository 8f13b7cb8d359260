import { describe, expect, it } from "vitest";
import {
  Cancelled,
  ConnectionLost,
  EngineUnreachable,
  GenerationFailed,
  InvalidConfig,
  PromptTooLong,
  UnknownModel,
  UnsupportedCapability,
  type OrchestratorError,
} from "../../../../src/orchestrator/api/errors.ts";
import { OpenAiErrors } from "../../../../src/orchestrator/engines/openai/errors.ts";
import { createOpenAiEngine } from "../../../../src/orchestrator/engines/openai/index.ts";
import type { FakeDialect, OpenAiFault } from "../../../support/fake-openai/types.ts";
import { chatRequest, createRecorder, never, rejection } from "../ollama/fixture.ts";
import { openAiOptions, startPair } from "./fixture.ts";

const ask = chatRequest({ model: "smollm2" });
const key = "sk-secret-key-4711/+=";

/** The error of one chat in which the fault occurs, and what was heard before. */
async function failing(
  fault: OpenAiFault,
  limits: Parameters<typeof startPair>[1] = {},
  dialect: FakeDialect = "cloud",
) {
  const { fake, engine } = await startPair({ dialect }, limits);
  fake.misbehave(fault);
  const sink = createRecorder();
  const error = (await rejection(engine.generate(ask, sink, never))) as OrchestratorError;
  // The next request succeeds: nothing is left of the failed one.
  expect((await engine.generate(ask, createRecorder(), never)).text).not.toBe("");
  return { error, heard: sink.heard.text.length, fake };
}

describe("an error response", () => {
  it.each([
    [401, {}, EngineUnreachable, { isTransient: false }],
    [403, {}, GenerationFailed, { isTransient: false }],
    [402, { "retry-after": "7" }, EngineUnreachable, { retryAfterMs: 7_000 }],
    [429, { "retry-after": "2.5" }, GenerationFailed, { retryAfterMs: 2_500, isTransient: false }],
    [429, { "retry-after-ms": "130" }, GenerationFailed, { retryAfterMs: 130 }],
    [500, {}, GenerationFailed, { isTransient: true, retryAfterMs: undefined }],
    [502, {}, EngineUnreachable, { isTransient: true }],
    [503, { "retry-after": "1" }, EngineUnreachable, { isTransient: true, retryAfterMs: 1_000 }],
  ] as const)("of status %d with %o is translated and says what to do", async (status, headers, kind, fields) => {
    const body = { error: { message: "it says why", type: "some_error", code: null } };
    const { error } = await failing({ kind: "status", status, headers, body });
    expect(error).toBeInstanceOf(kind);
    expect(error).toMatchObject(fields);
    expect(error.message).toContain("it says why");
    expect(error.message).toContain("house");
    expect(error.next).not.toEqual([]);
  });

  it("with a date in Retry-After is a wait until then", async () => {
    const headers = { "retry-after": new Date(Date.now() + 60_000).toUTCString() };
    const { error } = await failing({ kind: "status", status: 429, headers, body: "" });
    expect(error.retryAfterMs).toBeGreaterThan(50_000);
    expect(error.retryAfterMs).toBeLessThanOrEqual(60_000);
  });

  it("of a used up quota is one of the whole account, also as 429", async () => {
    const body = { error: { message: "You exceeded your current quota", code: "insufficient_quota" } };
    const { error } = await failing({ kind: "status", status: 429, body });
    expect(error).toBeInstanceOf(EngineUnreachable);
  });

  it("that is a page or a plain text is shown in short, without the page", async () => {
    const page = await failing({ kind: "status", status: 502, body: "<html><h1>Bad Gateway</h1></html>" });
    expect(page.error.message).toContain("HTTP 502");
    expect(page.error.message).not.toContain("html");
    const text = await failing({ kind: "status", status: 500, body: `no worker ${"x".repeat(100_000)}` });
    expect(text.error.message).toContain("no worker");
    expect(text.error.message.length).toBeLessThan(1_000);
  });

  it("names no address of a worker behind it, and keeps links to documentation", async () => {
    const body =
      "Request failed: error sending request for url (http://10.1.2.3:9111/v1/chat/completions): dial tcp 10.1.2.3:9111, " +
      "https://worker.house:8443/x, version 1.2.3; see https://platform.openai.com/docs";
    const { error } = await failing({ kind: "status", status: 500, body });
    expect(error.message).toContain(
      "for url ((address)): dial tcp (address), (address) version 1.2.3; see https://platform.openai.com/docs (HTTP 500)",
    );
  });

  it("that redirects is not followed, and names the host alone", async () => {
    const headers = { location: "http://elsewhere.example/v1/chat/completions?token=hidden" };
    const { error, fake } = await failing({ kind: "status", status: 307, headers, body: "" });
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(error.message).toContain("redirects to elsewhere.example,");
    expect(error.message).not.toContain("hidden");
    expect(fake.requests.filter(({ path }) => path === "/v1/chat/completions")).toHaveLength(2);
  });

  it.each(["llama-server", "vllm", "cloud", "kimi"] as const)(
    "of %s for a prompt beyond the context has both numbers",
    async (dialect) => {
      const { engine } = await startPair({ dialect, models: [{ id: "smollm2", contextTokens: 512 }] });
      const messages = [{ role: "user" as const, content: "Every word counts here. ".repeat(300) }];
      const error = await rejection(engine.generate({ ...ask, messages }, createRecorder(), never));
      expect(error).toBeInstanceOf(PromptTooLong);
      // vLLM stops counting at the limit.
      expect(error).toMatchObject({ contextTokens: 512, isExact: dialect !== "vllm" });
      expect((error as PromptTooLong).promptTokens).toBeGreaterThan(dialect === "vllm" ? 512 : 1_200);
    },
  );

  it.each([
    { message: "too long", type: "exceed_context_size_error", n_prompt_tokens: 1.1e226, n_ctx: 512 },
    {
      message: `This model's maximum context length is 512 tokens. However, your request has ${"9".repeat(226)} tokens`,
    },
  ])("does not repeat numbers of tokens that can't be true", async (error) => {
    const failed = await failing({ kind: "status", status: 400, body: { error } });
    expect(failed.error).toBeInstanceOf(PromptTooLong);
    expect(failed.error).toMatchObject({ promptTokens: 513, contextTokens: 512, isExact: false });
    expect(failed.error.message).toBe("the prompt is longer than the context of smollm2");
  });

  it.each(["llama-router", "vllm", "cloud", "kimi"] as const)("of %s for a removed model", async (dialect) => {
    const { fake, engine } = await startPair({ dialect });
    await engine.list(never);
    fake.models.clear();
    expect(await rejection(engine.generate(ask, createRecorder(), never))).toBeInstanceOf(UnknownModel);
  });

  it.each(["llama-server", "vllm", "cloud"] as const)("of %s for an image that it can't see", async (dialect) => {
    const { engine } = await startPair({ dialect });
    const messages = [{ role: "user" as const, content: "What is it?", images: ["iVBORw0KGgo="] }];
    const error = await rejection(engine.generate({ ...ask, messages }, createRecorder(), never));
    expect(error).toBeInstanceOf(UnsupportedCapability);
    expect((error as UnsupportedCapability).isTransient).toBe(false);
  });
});

describe("a stream", () => {
  it.each([
    ["is cut before its first token", { kind: "cut", afterTokens: 0 }, ConnectionLost, false],
    ["is cut before its status", { kind: "cut" }, ConnectionLost, false],
    ["is cut within the answer", { kind: "cut", afterTokens: 3 }, ConnectionLost, true],
    ["ends without a reason", { kind: "end", afterTokens: 2, body: "" }, ConnectionLost, true],
    [
      "has the text of a router at its end",
      { kind: "end", afterTokens: 2, body: "proxy error: gone" },
      ConnectionLost,
      true,
    ],
    [
      "has a line that is no event",
      { kind: "garbage", afterTokens: 0, body: "data: {nonsense" },
      GenerationFailed,
      false,
    ],
    [
      "has an error in place of an event",
      { kind: "error", afterTokens: 2, body: { error: { message: "worker lost" } } },
      GenerationFailed,
      true,
    ],
  ] as const)(
    "that %s is an error that may not be transient once a part was passed on",
    async (_what, fault, kind, isPartial) => {
      const { error, heard } = await failing(fault);
      expect(error).toBeInstanceOf(kind);
      expect(heard > 0).toBe(isPartial);
      // A line that is no event would come again.
      expect(error.isTransient).toBe(!isPartial && kind === ConnectionLost);
    },
  );

  it("with one endless line is ended", async () => {
    const { error } = await failing({ kind: "huge", bytes: 3_000_000 });
    expect(error.message).toMatch(/sent more than/);
  });

  it("that hangs before its first token is ended after that limit, between tokens after the other", async () => {
    const before = await failing({ kind: "hang", afterTokens: 0 }, { limits: { firstTokenMs: 150 } });
    expect(before.error).toBeInstanceOf(EngineUnreachable);
    // 15 ms more a character of the prompt.
    expect(before.error.message).toContain("0.435 s");
    expect(before.heard).toBe(0);
    const between = await failing({ kind: "hang", afterTokens: 2 }, { limits: { betweenTokensMs: 120 } });
    expect(between.error.message).toContain("0.12 s");
    expect(between.heard).toBeGreaterThan(0);
    expect(between.error.isTransient).toBe(false);
    const endless = await failing({ kind: "endless" }, { limits: { totalMs: 200 } });
    expect(endless.error.message).toContain("0.2 s");
  });

  it("that is cancelled closes its connection at once", async () => {
    const { fake, engine } = await startPair({ dialect: "cloud" });
    fake.misbehave({ kind: "hang", afterTokens: 1 });
    const controller = new AbortController();
    const sink = createRecorder();
    sink.text = () => controller.abort();
    const error = await rejection(engine.generate(ask, sink, controller.signal));
    expect(error).toBeInstanceOf(Cancelled);
    const request = await fake.request("/v1/chat/completions");
    await request.closed;
    expect(request.wasCutByClient).toBe(true);
  });
});

describe("the name of the model in an answer", () => {
  it.each([
    ["smollm2", undefined],
    ["HuggingFaceTB/SmolLM2", undefined],
    ["smollm2-2026-08-06", undefined],
    ["smollm2-0905-preview", undefined],
    ["smollm2:latest", undefined],
    ["smollm2-mini", "smollm2-mini"],
    ["gpt-9\u001B[31m", "gpt-9"],
  ])("%s is said where it is another one", async (model, answeredBy) => {
    const { fake, engine } = await startPair({ dialect: "cloud" });
    const events = [
      { model, choices: [{ delta: { content: "Hi" } }] },
      { model, choices: [{ delta: {}, finish_reason: "stop" }] },
    ];
    const body = [...events.map((event) => JSON.stringify(event)), "[DONE]"]
      .map((each) => `data: ${each}\n\n`)
      .join("");
    fake.misbehave({ kind: "status", status: 200, body });
    const answer = await engine.generate(ask, createRecorder(), never);
    expect([answer.text, answer.answeredBy]).toEqual(["Hi", answeredBy]);
  });
});

describe("a connection", () => {
  it("that is refused is an error to repeat", async () => {
    const { fake, engine } = await startPair();
    await engine.list(never);
    await fake.stop();
    const error = await rejection(engine.generate(ask, createRecorder(), never));
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(error).toMatchObject({ isTransient: true, message: expect.stringContaining("ECONNREFUSED") as string });
    // It reused no connection: there was none.
    const { requests = 0, opened = 0 } = engine.connections?.() ?? {};
    expect(requests - opened).toBeLessThanOrEqual(1);
  });

  it("that is always refused counts no request", async () => {
    const { fake, engine } = await startPair();
    await fake.stop();
    for (let at = 0; at < 3; at += 1) await rejection(engine.generate(ask, createRecorder(), never));
    expect(engine.connections?.()).toMatchObject({ requests: 0, opened: 0 });
  });

  it("with a certificate that nothing vouches for is refused, with what to do", async () => {
    const { engine } = await startPair({ tls: true });
    const error = await rejection(engine.list(never));
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(error.message).toContain("certificate");
    expect(error.next?.[0]).toMatchObject({
      step: "restartDaemon",
      after: expect.stringContaining("NODE_EXTRA_CA_CERTS") as string,
    });
  });

  it("to a private address needs the user's word, in every notation", async () => {
    for (const baseUrl of ["http://10.0.0.1:8000", "http://0x0a000001/v1", "http://[fd00::1]/v1"]) {
      const engine = createOpenAiEngine(openAiOptions(baseUrl));
      const error = await rejection(engine.list(never));
      expect(error).toBeInstanceOf(EngineUnreachable);
      expect(error.next).toMatchObject([{ step: "allowHost" }]);
      await engine.close();
    }
  });

  it.each(["ftp://host/v1", "no address", "http://user:word@host/v1", "http://host/v1?key=1"])(
    "to %s is refused by the settings",
    (baseUrl) => {
      expect(() => createOpenAiEngine(openAiOptions(baseUrl))).toThrow(InvalidConfig);
    },
  );
});

describe("the key", () => {
  it("is sent as a bearer token, and in nothing else", async () => {
    const { fake, engine } = await startPair({ dialect: "cloud", apiKey: key }, { apiKey: async () => ` ${key}\n` });
    await engine.generate(ask, createRecorder(), never);
    await engine.embedding?.embed("smollm2", ["x"], never).catch(() => undefined);
    expect(fake.requests.length).toBeGreaterThanOrEqual(3);
    for (const { headers, path, body } of fake.requests) {
      expect(headers["authorization"]).toBe(`Bearer ${key}`);
      expect(JSON.stringify([{ ...headers, authorization: "" }, path, body])).not.toContain(key);
    }
  });

  it("is in no error, log or cause, also where the server repeats it", async () => {
    const logged: string[] = [];
    const note = (...words: unknown[]) => void logged.push(words.map(String).join(" "));
    const log = { debug: note, info: note, warn: note };
    const encoded = encodeURIComponent(key);
    const { fake, engine } = await startPair({ dialect: "cloud" }, { apiKey: async () => key, log });
    const echoes: readonly OpenAiFault[] = [
      { kind: "status", status: 401, body: { error: { message: `Incorrect API key provided: ${key}.` } } },
      { kind: "status", status: 500, body: `the request had authorization: Bearer ${key}` },
      { kind: "status", status: 400, body: { error: { message: "no", param: key, code: "unsupported_parameter" } } },
      {
        kind: "status",
        status: 400,
        body: { error: { message: `no ${key}`, param: "seed", code: "unknown_parameter" } },
      },
      { kind: "status", status: 400, body: { error: { message: `model '${key}' not found`, type: key, code: key } } },
      { kind: "status", status: 307, headers: { location: `http://${encoded}.example/${encoded}` }, body: "" },
      { kind: "status", status: 403, body: { detail: `${Buffer.from(key).toString("base64")} ${encoded}` } },
      { kind: "garbage", afterTokens: 0, body: `data: {"authorization": ${key}` },
      { kind: "garbage", afterTokens: 0, body: key },
      { kind: "error", afterTokens: 1, body: { error: { message: key, code: 429 } } },
    ];
    for (const fault of echoes) {
      fake.misbehave(fault);
      const error = await rejection(engine.generate(ask, createRecorder(), never));
      const shown = allOf(error) + logged.join("\n");
      for (const secret of [key, encoded, Buffer.from(key).toString("base64")]) expect(shown).not.toContain(secret);
    }
  });

  it("is in no name of a list that repeats it", async () => {
    const { engine } = await startPair({ dialect: "cloud", models: [{ id: `a-${key}` }] }, { apiKey: async () => key });
    expect((await engine.list(never)).map(({ name }) => name)).toEqual(["a-***"]);
  });

  it("that can't be read is an error of the engine, without a request", async () => {
    const next = { step: "advice", text: "write the key into the file" } as const;
    const apiKey = () => Promise.reject(new InvalidConfig("the key file is missing", { next }));
    const { fake, engine } = await startPair({}, { apiKey });
    const error = await rejection(engine.list(never));
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(error).toMatchObject({ next: [next], message: expect.stringContaining("key file is missing") as string });
    expect(fake.requests).toEqual([]);
  });

  it("that no header can hold is refused without being shown", async () => {
    const { engine } = await startPair({}, { apiKey: async () => "line\r\nbreak" });
    const error = await rejection(engine.list(never));
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(allOf(error)).not.toContain("break");
  });
});

describe("a failed connection", () => {
  const ofFailure = (code: string): unknown => {
    const failure = Object.assign(new Error(code), { code });
    const translated = new OpenAiErrors("house", "box:1", new Set()).ofFailure(failure, {
      what: "listing models",
      otherwise: GenerationFailed,
    });
    return translated === failure ? "a defect" : translated;
  };

  it.each(["ECONNREFUSED", "EAI_AGAIN", "HPE_INVALID_CONSTANT"])("with %s is an unreachable server", (code) => {
    expect(ofFailure(code)).toBeInstanceOf(EngineUnreachable);
  });

  it("with a code that only a wrong argument has is a defect", () => {
    expect(ofFailure("ERR_INVALID_ARG_TYPE")).toBe("a defect");
  });
});

/** Everything that an error holds, its stack and causes included. */
function allOf(error: unknown, depth = 0): string {
  if (!(error instanceof Error) || depth > 5) return JSON.stringify(error) ?? "";
  const own = Object.getOwnPropertyNames(error).map((name) => (error as unknown as Record<string, unknown>)[name]);
  return [error.stack, ...own.map((value) => allOf(value, depth + 1))].join("\n");
}
