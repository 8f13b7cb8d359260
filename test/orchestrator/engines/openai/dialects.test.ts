import { describe, expect, it } from "vitest";
import { GenerationFailed, UnsupportedCapability } from "../../../../src/orchestrator/api/errors.ts";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import { chatRequest, createRecorder, never, rejection } from "../ollama/fixture.ts";
import { startPair } from "./fixture.ts";

const chats = "/v1/chat/completions";

it.each(["llama-server", "vllm", "cloud"] as const)("a schema that %s refuses is not sent again", async (dialect) => {
  const { engine } = await startPair({ dialect });
  const request = chatRequest({ model: "smollm2", format: { type: "objekt" } });
  const error = await rejection(engine.generate(request, createRecorder(), never));
  expect(error).toBeInstanceOf(GenerationFailed);
  expect(error).toMatchObject({ isTransient: false, next: [{ step: "chooseModel" }] });
});

describe("thinking", () => {
  it.each(["llama-server", "vllm", "cloud", "kimi"] as const)("is kept apart from the text by %s", async (dialect) => {
    const model = { id: "thinker", thinking: "I count to three.", reply: "Three it is." };
    const { engine } = await startPair({ dialect, models: [model] });
    const sink = createRecorder();
    const generation = await engine.generate(chatRequest({ model: "thinker" }), sink, never);
    expect(generation).toMatchObject({ thinking: "I count to three.", text: "Three it is.", finishReason: "stop" });
    expect(sink.heard.thinking.join("")).toBe(generation.thinking);
    expect(sink.heard.text.join("")).toBe(generation.text);
  });

  it.each([
    ["<think> Is it seven? </think>\n\nIt is <think> seven.", " Is it seven? ", "It is <think> seven."],
    ["<thinner> than paper", undefined, "<thinner> than paper"],
    ["<think>never ending", "never ending", ""],
    ["<th", undefined, "<th"],
    ["a <think>b</think>", undefined, "a <think>b</think>"],
  ])("that a server leaves in %j is taken out of the text", async (reply, thinking, text) => {
    const { engine } = await startPair({ models: [{ id: "thinker", reply }] });
    const generation = await engine.generate(chatRequest({ model: "thinker" }), createRecorder(), never);
    expect([generation.thinking, generation.text]).toEqual([thinking, text]);
  });

  it("is switched by the template of own servers, and by the effort of clouds", async () => {
    const sent = async (serverKind: "local" | "cloud", think: boolean | "low") => {
      const { fake, engine } = await startPair({ dialect: "vllm" }, { serverKind });
      await engine.generate(chatRequest({ model: "smollm2", think }), createRecorder(), never);
      const { chat_template_kwargs, reasoning_effort } = (await fake.request(chats)).body;
      return chat_template_kwargs ?? reasoning_effort;
    };
    expect(await sent("local", false)).toEqual({ enable_thinking: false });
    expect(await sent("local", "low")).toEqual({ enable_thinking: true, reasoning_effort: "low" });
    expect(await sent("cloud", false)).toBe("none");
    expect(await sent("cloud", "low")).toBe("low");
    expect(await sent("cloud", true)).toBeUndefined();
  });
});

describe("a request", () => {
  const all: GenerationRequest = {
    model: "smollm2",
    messages: [{ role: "user", content: "What is it?", images: ["iVBORw0KGgo=", "/9j/4AAQ"] }],
    maxTokens: 9,
    sampling: { temperature: 0.1, topP: 0.2, topK: 3, seed: 4, stop: ["x"] },
    contextTokens: 2_048,
  };
  const seeing = { id: "smollm2", input: ["text", "image"] };

  it("has all options and images as data, and asks for usage", async () => {
    const { fake, engine } = await startPair({ models: [seeing] });
    await engine.generate(all, createRecorder(), never);
    expect((await fake.request(chats)).body).toEqual({
      model: "smollm2",
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "What is it?" },
            { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } },
            { type: "image_url", image_url: { url: "data:image/jpeg;base64,/9j/4AAQ" } },
          ],
        },
      ],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 9,
      temperature: 0.1,
      top_p: 0.2,
      top_k: 3,
      seed: 4,
      stop: ["x"],
      verbose: true,
      response_fields: ["stopping_word"],
    });
  });

  it.each([
    ["llama-server", "two"],
    ["vllm", "two"],
    ["cloud", undefined],
  ] as const)("with stop texts is answered with the one that ended it, if %s tells", async (dialect, told) => {
    const models = [{ id: "smollm2", reply: "one two three" }];
    const { engine } = await startPair({ dialect, models });
    const stopText = async (stop: readonly string[]) =>
      await engine.generate(
        { ...all, messages: [{ role: "user", content: "Count" }], maxTokens: 90, sampling: { stop } },
        createRecorder(),
        never,
      );
    expect(await stopText(["three", "two"])).toMatchObject({ text: "one ", ...(told && { stopText: told }) });
    expect(await stopText(["four"])).not.toHaveProperty("stopText");
  });

  it("leaves out what a model refuses, and remembers it for that model", async () => {
    const refuses = ["max_tokens", "temperature"];
    const { fake, engine } = await startPair(
      { dialect: "cloud", models: [{ ...seeing, refuses }, { id: "other" }] },
      { serverKind: "cloud" },
    );
    await engine.generate(all, createRecorder(), never);
    await engine.generate(all, createRecorder(), never);
    await engine.generate(chatRequest({ model: "other" }), createRecorder(), never);
    const bodies = fake.requests.filter(({ path }) => path === chats).map(({ body }) => body);
    expect(
      bodies.map((body) => ["max_tokens", "max_completion_tokens", "temperature"].filter((name) => name in body)),
    ).toEqual([
      ["max_tokens", "temperature"],
      ["max_completion_tokens", "temperature"],
      ["max_completion_tokens"],
      ["max_completion_tokens"],
      ["max_tokens"],
    ]);
    expect(bodies[0]).not.toHaveProperty("top_k");
  });

  it("whose limit is refused under both names fails", async () => {
    const refuses = ["max_tokens", "max_completion_tokens"];
    const { fake, engine } = await startPair({ dialect: "cloud", models: [{ id: "smollm2", refuses }] });
    const error = await rejection(engine.generate(chatRequest({ model: "smollm2" }), createRecorder(), never));
    expect(error.message).toContain("max_completion_tokens");
    expect(fake.requests.filter(({ path }) => path === chats).length).toBeLessThanOrEqual(3);
  });

  it("for JSON has the word in it, and a schema is strict where OpenAI takes it as such", async () => {
    const { fake, engine } = await startPair({ dialect: "cloud" }, { serverKind: "cloud" });
    const open = { type: "object", properties: { a: { type: "string" } } };
    const closed = { ...open, required: ["a"], additionalProperties: false };
    for (const format of ["json", open, closed] as const)
      await engine.generate(chatRequest({ model: "smollm2", format }), createRecorder(), never);
    const bodies = fake.requests.filter(({ path }) => path === chats).map(({ body }) => body);
    expect(bodies.map((body) => body["response_format"])).toEqual([
      { type: "json_object" },
      { type: "json_schema", json_schema: { name: "answer", schema: open, strict: false } },
      { type: "json_schema", json_schema: { name: "answer", schema: closed, strict: true } },
    ]);
    expect(bodies.map((body) => JSON.stringify(body["messages"]).includes("JSON"))).toEqual([true, false, false]);
  });
});

describe("a generation", () => {
  it.each(["llama-server", "vllm", "cloud", "kimi"] as const)("of %s has the server's counts", async (dialect) => {
    const { engine } = await startPair({ dialect });
    const request = chatRequest({ model: "smollm2" });
    const first = await engine.generate(request, createRecorder(), never);
    const again = await engine.generate(request, createRecorder(), never);
    expect(first.promptTokens).toBeGreaterThan(3);
    expect(first.completionTokens).toBeGreaterThan(3);
    expect(again.cachedPromptTokens).toBe(dialect === "vllm" ? undefined : first.promptTokens - 1);
    if (dialect === "llama-server") expect(first.prefillMs).toBe(1);
  });

  it("without usage has the pieces that arrived, and an estimate of the prompt", async () => {
    const { engine } = await startPair({ dialect: "cloud", models: [{ id: "smollm2", refuses: ["stream_options"] }] });
    const generation = await engine.generate(chatRequest({ model: "smollm2" }), createRecorder(), never);
    expect(generation.completionTokens).toBeGreaterThan(3);
    expect(generation.promptTokens).toBe(Math.ceil("Name three colours.".length / 4));
  });

  it.each(["llama-server", "vllm"] as const)("of a chat model is not supported by %s", async (dialect) => {
    const { engine } = await startPair({ dialect });
    const embed = engine.embedding?.embed("smollm2", ["one"], never) ?? Promise.resolve();
    expect(await rejection(embed)).toBeInstanceOf(UnsupportedCapability);
  });

  it("of an embedding server has vectors in the order of the texts", async () => {
    const { engine } = await startPair({ models: [{ id: "all-minilm-embed", isEmbedding: true }] });
    const embed = (texts: readonly string[]) => engine.embedding?.embed("all-minilm-embed", texts, never);
    const both = await embed(["one", "two"]);
    expect(both?.vectors).toHaveLength(2);
    expect((await embed(["two"]))?.vectors[0]).toEqual(both?.vectors[1]);
    expect(await embed([])).toEqual({ vectors: [], promptTokens: 0 });
  });
});
