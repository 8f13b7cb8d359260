import { describe, expect, it } from "vitest";
import { gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";
import { startListeners } from "../http/listener-fixture.ts";
import { door, linesOf, question, weather } from "./ollama-door.ts";

const start = startListeners();
const open = (answer?: Parameters<typeof door>[1]) => door(start, answer);

describe("Ollama's API", () => {
  it("says that it runs, and its version", async () => {
    const { listener, client } = await open();
    const { text, headers } = await listener.ask("/");
    expect([text, headers["content-type"]]).toEqual(["Ollama is running", "text/plain"]);
    expect((await listener.ask("/", { method: "HEAD" })).status).toBe(200);
    expect(await client.version()).toEqual({ version: expect.stringMatching(/^\d+\.\d+/), ollm: "0.0.0-test" });
  });

  it("lists models under their own names, then the names by which one is chosen", async () => {
    const { client } = await open();
    const { models } = await client.list();
    expect(models[0]).toMatchObject({ name: "plain:latest", model: "plain:latest", size: gigabyte / 2 });
    expect(models.find(({ name }) => name === "small:1b")).toMatchObject({
      digest: "small:1b",
      details: {
        family: "qwen",
        families: ["qwen"],
        parameter_size: "1B",
        quantization_level: "Q4_K_M",
        context_length: 32_768,
        format: "gguf",
      },
      capabilities: expect.arrayContaining(["tools", "vision"]),
    });
    const names = models.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["ollm/auto", "ollm/fast"]));
    for (const { digest, modified_at: at } of models) {
      expect(digest.length).toBeGreaterThanOrEqual(8);
      expect(Number.isNaN(Date.parse(String(at)))).toBe(false);
    }
  });

  it("describes a model, and for ollm/auto the one that would be chosen", async () => {
    const { client } = await open();
    const shown = await client.show({ model: "small:1b" });
    expect(shown.capabilities).toContain("tools");
    expect(shown.details.family).toBe("qwen");
    const info = shown.model_info as unknown as Record<string, unknown>;
    expect(info[`${String(info["general.architecture"])}.context_length`]).toBe(32_768);
    const chosen = await client.show({ model: "ollm/auto" });
    expect(chosen.capabilities).toContain("completion");
    await expect(client.show({ model: "nope" })).rejects.toMatchObject({
      status_code: 404,
      message: expect.stringMatching(/not found/),
    });
  });

  it("streams a chat by default, with Ollama's last line", async () => {
    const { listener } = await open();
    const { lines, headers } = await linesOf(listener, "/api/chat", { model: "small:1b", messages: question });
    expect(headers["content-type"]).toBe("application/x-ndjson");
    expect(headers["ollm-model"]).toBe("small:1b");
    const rows = lines as { done: boolean; message: { content: string }; model: string }[];
    expect(rows.length).toBeGreaterThan(3);
    expect(rows.map(({ message }) => message.content).join("")).toBe("Hello there");
    expect(rows.every(({ model }) => model === "small:1b")).toBe(true);
    expect(rows.map(({ done }) => done).lastIndexOf(false)).toBe(rows.length - 2);
    expect(rows.at(-1)).toEqual({
      model: "small:1b",
      created_at: expect.stringMatching(/^\d{4}-.*Z$/),
      message: { role: "assistant", content: "" },
      done: true,
      done_reason: "stop",
      total_duration: expect.any(Number),
      load_duration: expect.any(Number),
      prompt_eval_count: 5,
      prompt_eval_duration: expect.any(Number),
      eval_count: 3,
      eval_duration: 10_000_000,
    });
  });

  it("passes what a program sends untouched, adds nothing, and names what it ignores", async () => {
    const { listener, asked } = await open();
    const { status, headers } = await listener.ask("/api/chat", {
      body: {
        model: "small:1b",
        stream: false,
        messages: [
          { role: "system", content: "Be brief." },
          { role: "user", content: "A picture", images: ["aGVsbG8="] },
          { role: "assistant", content: "", thinking: "hm" },
          ...question,
        ],
        options: {
          temperature: 0.3,
          top_p: 0.8,
          top_k: 11,
          seed: 7,
          stop: ["END"],
          num_predict: 50,
          num_ctx: 9_000,
          frequency_penalty: 0.1,
          presence_penalty: 0.2,
          mirostat: 2,
          repeat_penalty: 1.1,
        },
        think: "low",
        keep_alive: "1h30m",
      },
    });
    expect(status).toBe(200);
    expect(headers["ollm-ignored"]).toBe("options.mirostat, options.repeat_penalty");
    expect(asked[0]).toMatchObject({
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "A picture", images: ["aGVsbG8="] },
        { role: "assistant", content: "", thinking: "hm" },
        ...question,
      ],
      sampling: {
        temperature: 0.3,
        topP: 0.8,
        topK: 11,
        seed: 7,
        stop: ["END"],
        frequencyPenalty: 0.1,
        presencePenalty: 0.2,
      },
      maxTokens: 50,
      think: "low",
      keepAliveSeconds: 5_400,
    });
    expect(asked[0]?.messages).toHaveLength(4);
    expect(asked[0]?.contextTokens).toBeGreaterThanOrEqual(9_000);
  });

  it("calls tools, takes their results by name or order, and streams the calls before the last line", async () => {
    const { client, asked } = await open(async ({ messages }) =>
      messages.some(({ role }) => role === "tool")
        ? { text: "Sunny." }
        : {
            text: "",
            toolCalls: [
              { id: "call_1", name: "get_weather", arguments: '{"city":"Paris"}' },
              { id: "call_2", name: "get_weather", arguments: '{"city":"Rome"}' },
            ],
          },
    );
    const seen: unknown[] = [];
    for await (const { message, done_reason: reason } of await client.chat({
      model: "small:1b",
      messages: question,
      tools: [weather],
      stream: true,
    })) {
      if (message.tool_calls) seen.push(...message.tool_calls.map((call) => call.function.arguments));
      if (reason) seen.push(reason);
    }
    expect(seen).toEqual([{ city: "Paris" }, { city: "Rome" }, "stop"]);
    expect(asked[0]?.tools).toEqual([{ ...weather.function }]);

    const first = await client.chat({ model: "small:1b", messages: question, tools: [weather] });
    const after = await client.chat({
      model: "small:1b",
      messages: [
        ...question,
        first.message,
        { role: "tool", content: "sunny", tool_name: "get_weather" },
        { role: "tool", content: "rain" },
      ],
      tools: [weather],
    });
    expect(after.message.content).toBe("Sunny.");
    const [, calling, paris, rome] = asked.at(-1)?.messages ?? [];
    const ids = calling?.toolCalls?.map(({ id }) => id);
    expect([paris?.toolCallId, rome?.toolCallId]).toEqual(ids);
    expect(paris?.toolName).toBe("get_weather");
    expect(calling?.toolCalls?.[0]?.arguments).toBe('{"city":"Paris"}');
  });

  it("tells thoughts apart from the answer, streamed or whole", async () => {
    const { client } = await open(async (_request, sink) => {
      sink.thinking("I wonder");
      return { text: "Yes.", thinking: "I wonder" };
    });
    const whole = await client.chat({ model: "small:1b", messages: question, think: true });
    expect(whole.message).toEqual({ role: "assistant", content: "Yes.", thinking: "I wonder" });
    const parts = { thinking: "", content: "" };
    for await (const { message } of await client.chat({
      model: "small:1b",
      messages: question,
      think: "high",
      stream: true,
    })) {
      parts.thinking += message.thinking ?? "";
      parts.content += message.content;
    }
    expect(parts).toEqual({ thinking: "I wonder", content: "Yes." });
    const generated = await client.generate({ model: "small:1b", prompt: "x", think: true, stream: false });
    expect([generated.response, generated.thinking]).toEqual(["Yes.", "I wonder"]);
    await expect(client.chat({ model: "small:1b", messages: question, think: "huge" as "low" })).rejects.toMatchObject({
      status_code: 400,
      message: expect.stringMatching(/invalid think value/),
    });
  });

  it("answers in a format", async () => {
    const { client, asked } = await open(async () => ({ text: '{"a":1}' }));
    const schema = { type: "object", properties: { a: { type: "integer" } } };
    const { message } = await client.chat({ model: "small:1b", messages: question, format: schema });
    expect([message.content, asked[0]?.format]).toEqual(['{"a":1}', schema]);
    await client.generate({ model: "small:1b", prompt: "x", format: "json" });
    expect(asked[1]?.format).toBe("json");
    await expect(client.generate({ model: "small:1b", prompt: "x", format: "yaml" })).rejects.toMatchObject({
      status_code: 400,
    });
  });

  it("answers a prompt with system and images; what would change its meaning is refused, context is named", async () => {
    const { client, listener, asked } = await open();
    const { response, done_reason: reason } = await client.generate({
      model: "small:1b",
      prompt: "What is it?",
      system: "Be brief.",
      images: [new Uint8Array([1, 2, 3])],
      stream: false,
    });
    expect([response, reason]).toEqual(["Hello there", "stop"]);
    expect(asked[0]?.messages).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "What is it?", images: ["AQID"] },
    ]);
    for (const more of [{ raw: true }, { template: "{{ .Prompt }}" }, { suffix: "end" }, { logprobs: true }]) {
      const { status, text } = await listener.ask("/api/generate", {
        body: { model: "small:1b", prompt: "x", ...more },
      });
      expect([status, JSON.parse(text)]).toEqual([400, { error: expect.stringMatching(/not supported/) }]);
    }
    const { headers, status } = await linesOf(listener, "/api/generate", {
      model: "small:1b",
      prompt: "x",
      context: [1, 2],
      raw: false,
      template: "",
      suffix: "",
    });
    expect([status, headers["ollm-ignored"]]).toEqual([200, "context"]);
  });

  it("loads without a prompt, and unloads with a keep-alive of 0", async () => {
    const { client, engine, listener } = await open();
    const load = { model: "small:1b", prompt: "", stream: false } as const;
    expect(await client.generate({ ...load, options: { num_ctx: 100_000 }, keep_alive: -1 })).toMatchObject({
      response: "",
      done: true,
      done_reason: "load",
    });
    expect(engine.calls).toContain("load small:1b 32768");
    const { models } = await client.ps();
    expect(models[0]).toMatchObject({ name: "small:1b", model: "small:1b", size: gigabyte, context_length: 32_768 });
    const { lines } = await linesOf(listener, "/api/chat", { model: "small:1b", messages: [], keep_alive: 0 });
    expect(lines).toMatchObject([{ message: { role: "assistant", content: "" }, done: true, done_reason: "unload" }]);
    expect((await client.ps()).models).toEqual([]);
    await expect(client.generate({ model: "nope", prompt: "", keep_alive: 0 })).rejects.toMatchObject({
      status_code: 404,
    });
  });

  it("does not unload a model that the user pinned", async () => {
    const { client, orchestrator } = await open();
    await client.generate({ model: "small:1b", prompt: "" });
    const { caller } = createTestOrchestrator([]);
    await orchestrator.setPinned(caller(), "small:1b", true);
    await expect(client.generate({ model: "small:1b", prompt: "", keep_alive: 0 })).rejects.toMatchObject({
      status_code: 400,
      message: expect.stringMatching(/pinned/),
    });
    expect((await client.ps()).models).toHaveLength(1);
  });

  it("embeds texts", async () => {
    const { client, listener } = await open();
    const { embeddings, prompt_eval_count: count } = await client.embed({ model: "vectors", input: ["a", "b"] });
    expect(embeddings[0]).toEqual([0.6, 0.8, 0]);
    expect([embeddings.length, count]).toEqual([2, 4]);
    expect((await client.embed({ model: "vectors", input: "a", dimensions: 1 })).embeddings).toEqual([[1]]);
    expect(await client.embeddings({ model: "vectors", prompt: "a" })).toEqual({ embedding: [3, 4, 0] });
    expect((await client.embed({ model: "vectors", input: [] })).embeddings).toEqual([]);
    await expect(client.embed({ model: "plain", input: "a" })).rejects.toMatchObject({ status_code: 400 });
    expect((await listener.ask("/api/embed", { body: { model: "vectors", input: 3 } })).status).toBe(400);
    for (const [path, body] of [
      ["/api/embed", { model: "vectors", input: "a" }],
      ["/api/embeddings", { model: "vectors", prompt: "a" }],
      ["/api/chat", { model: "vectors" }],
    ] as const) {
      const { headers } = await listener.ask(path, { body });
      expect([headers["ollm-model"], headers["ollm-load-ms"]]).toEqual([
        "vectors:latest",
        expect.stringMatching(/^\d+$/),
      ]);
    }
  });

  it("pulls with progress lines, or whole", async () => {
    const { client, listener, engine } = await open();
    const statuses: unknown[] = [];
    for await (const { status, digest, total, completed } of await client.pull({ model: "new:1b", stream: true }))
      statuses.push(digest === undefined ? status : [digest.length, total, completed]);
    expect(statuses).toEqual(["pulling manifest", [71, 2, 1], "success"]);
    expect(await client.pull({ model: "other:1b" })).toEqual({ status: "success" });
    expect(engine.calls).toEqual(expect.arrayContaining(["pull new:1b", "pull other:1b"]));
    expect((await listener.ask("/api/pull", { body: {} })).status).toBe(400);
  });
});
