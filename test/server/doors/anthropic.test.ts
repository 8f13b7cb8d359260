import { APIError } from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { jsonSchemaOutputFormat } from "@anthropic-ai/sdk/helpers/json-schema";
import { describe, expect, test } from "vitest";
import { createGate } from "../../support/fake-engine.ts";
import { failureOf, hello, openScripted, plain, weather } from "./anthropic-fixture.ts";

const pixel = "iVBORw0KGgo=";

describe("a message", () => {
  test("reaches the engine as it was sent, and its usage counts cached tokens apart", async () => {
    const { client, sent } = await openScripted(async () => ({
      text: "Hi.",
      promptTokens: 20,
      cachedPromptTokens: 15,
    }));
    const message = await client.messages.create({
      ...plain,
      system: [
        { type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } },
        { type: "text", text: "Be kind." },
      ],
      messages: [
        hello,
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "Hm.", signature: "s" },
            { type: "text", text: "Yes?" },
          ],
        },
        { role: "system", content: "Today is Tuesday." },
        {
          role: "user",
          content: [
            { type: "text", text: "What is it?" },
            { type: "image", source: { type: "base64", media_type: "image/png", data: pixel } },
          ],
        },
      ],
      // The client's types have them no more; programs send them.
      ...({ temperature: 0.3, top_p: 0.9, top_k: 7 } as object),
      stop_sequences: ["END"],
      metadata: { user_id: "u" },
    });
    expect(message).toMatchObject({
      type: "message",
      role: "assistant",
      model: "coder:7b",
      content: [{ type: "text", text: "Hi." }],
      stop_reason: "end_turn",
      stop_sequence: null,
      usage: { input_tokens: 5, cache_read_input_tokens: 15, output_tokens: 3 },
    });
    expect(sent[0]?.messages).toEqual([
      { role: "system", content: "Be brief.\n\nBe kind." },
      { role: "user", content: "hello" },
      { role: "assistant", content: "Yes?", thinking: "Hm." },
      { role: "system", content: "Today is Tuesday." },
      { role: "user", content: "What is it?", images: [pixel] },
    ]);
    expect(sent[0]).toMatchObject({
      maxTokens: 100,
      sampling: { temperature: 0.3, topP: 0.9, topK: 7, stop: ["END"] },
    });
    expect(sent[0]?.sampling).toEqual({ temperature: 0.3, topP: 0.9, topK: 7, stop: ["END"] });
  });

  test("is streamed as the events that the client's helper reads", async () => {
    const { client } = await openScripted(async (_request, sink) => {
      sink.thinking("Let me ");
      sink.thinking("think.");
      sink.text("The answer ");
      sink.text("is 4.");
      return { text: "The answer is 4.", thinking: "Let me think.", promptTokens: 20 };
    });
    const stream = client.messages.stream({ ...plain, thinking: { type: "enabled", budget_tokens: 1024 } });
    const seen: string[] = [];
    const texts: string[] = [];
    const thoughts: string[] = [];
    stream.on("streamEvent", (event) => {
      if (seen.at(-1) !== event.type) seen.push(event.type);
    });
    stream.on("text", (delta) => texts.push(delta));
    stream.on("thinking", (delta) => thoughts.push(delta));
    const message = await stream.finalMessage();
    expect(seen).toEqual([
      "message_start",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ]);
    expect(texts.join("")).toBe("The answer is 4.");
    expect(thoughts.join("")).toBe("Let me think.");
    expect(message).toMatchObject({
      model: "coder:7b",
      content: [
        { type: "thinking", thinking: "Let me think.", signature: "ollm" },
        { type: "text", text: "The answer is 4." },
      ],
      stop_reason: "end_turn",
      usage: { input_tokens: 20, output_tokens: 3 },
    });
  });

  test("begins with the answer for a program that asked for no thoughts", async () => {
    const { client, sent } = await openScripted(async (_request, sink) => {
      sink.thinking("Hm.");
      sink.text("Four.");
      return { text: "Four.", thinking: "Hm." };
    });
    for (const more of [{}, { thinking: { type: "disabled" as const } }]) {
      const whole = await client.messages.create({ ...plain, ...more });
      expect(whole.content).toEqual([{ type: "text", text: "Four." }]);
      const streamed = await client.messages.stream({ ...plain, ...more }).finalMessage();
      expect(streamed.content).toMatchObject([{ type: "text", text: "Four." }]);
    }
    expect(sent.map(({ think }) => think)).toEqual([undefined, undefined, false, false]);
    const thought = await client.messages.create({ ...plain, thinking: { type: "adaptive" } });
    expect(thought.content).toMatchObject([{ type: "thinking", thinking: "Hm." }, { type: "text" }]);
  });

  test("a budget for thoughts excludes no model that has none", async () => {
    const { client } = await openScripted(async () => ({ text: "Hi." }));
    const thinking = { type: "enabled", budget_tokens: 1024 } as const;
    const message = await client.messages.create({ ...plain, model: "plain:1b", thinking });
    expect(message.content).toEqual([{ type: "text", text: "Hi." }]);
  });

  test("names of models: auto, a profile, a mapped one", async () => {
    const { client } = await openScripted(async () => ({ text: "Hi." }));
    const answers = ["ollm/auto", "ollm/code", "claude-haiku-4-5"].map((model) =>
      client.messages.create({ ...plain, model, tools: [weather] }),
    );
    expect((await Promise.all(answers)).map(({ model }) => model)).toEqual(["coder:7b", "coder:7b", "coder:7b"]);
  });

  test("an answer that reached its limit says so, and one that a stop text ended which, where the engine tells", async () => {
    const { client } = await openScripted(async () => ({ text: "Once upon", finishReason: "length" }));
    expect((await client.messages.create(plain)).stop_reason).toBe("max_tokens");
    expect((await client.messages.stream(plain).finalMessage()).stop_reason).toBe("max_tokens");
    const { client: other } = await openScripted(async () => ({ text: "Hi.", stopText: "END" }));
    const ended = { stop_reason: "stop_sequence", stop_sequence: "END" };
    expect(await other.messages.create(plain)).toMatchObject(ended);
    expect(await other.messages.stream(plain).finalMessage()).toMatchObject(ended);
  });

  test("a schema binds the answer, which the client parses", async () => {
    const schema = {
      type: "object",
      properties: { sum: { type: "integer" } },
      required: ["sum"],
      additionalProperties: false,
    } as const;
    const { client, sent } = await openScripted(async () => ({ text: '{"sum":4}' }));
    const format = jsonSchemaOutputFormat(schema);
    const message = await client.messages.parse({ ...plain, output_config: { format } });
    expect(message.parsed_output).toEqual({ sum: 4 });
    expect(sent[0]?.format).toMatchObject({ properties: { sum: {} }, required: ["sum"] });
  });
});

test("fields that only Anthropic's servers know are left alone, as Claude Code sends them", async () => {
  const { listener, sent } = await openScripted(async () => ({ text: "Hi." }));
  const body = {
    ...plain,
    context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
    output_config: { effort: "high" },
    thinking: { type: "adaptive" },
    metadata: { user_id: "u" },
    tools: [{ ...weather, cache_control: { type: "ephemeral" }, strict: true }],
  };
  const answer = await listener.ask("/v1/messages?beta=true", { body });
  expect(answer).toMatchObject({
    status: 200,
    headers: { "ollm-model": "coder:7b", "ollm-ignored": "context_management, metadata" },
  });
  expect(sent[0]).toMatchObject({ messages: [hello], tools: [{ name: "get_weather" }] });
  expect(sent[0]).not.toHaveProperty("think");
});

describe("tools", () => {
  const call = { id: "call_1", name: "get_weather", arguments: '{"city":"Bern"}' };

  test("their schemas reach the engine, and calls come back, streamed and whole", async () => {
    const { client, sent } = await openScripted(async (_request, sink) => {
      sink.text("Let me look.");
      sink.toolCall?.({ index: 0, name: "get_weather", arguments: '{"city":"Bern"}' });
      return { text: "Let me look.", toolCalls: [call, { ...call, id: "call_2" }] };
    });
    const content = [
      { type: "text", text: "Let me look." },
      { type: "tool_use", id: "call_1", name: "get_weather", input: { city: "Bern" } },
      { type: "tool_use", id: "call_2", name: "get_weather", input: { city: "Bern" } },
    ];
    const given = { ...plain, tools: [weather] };
    expect(await client.messages.create(given)).toMatchObject({ content, stop_reason: "tool_use" });
    const stream = client.messages.stream(given);
    const pieces: string[] = [];
    stream.on("inputJson", (delta) => pieces.push(delta));
    expect(await stream.finalMessage()).toMatchObject({ content, stop_reason: "tool_use" });
    expect(pieces.join("")).toBe('{"city":"Bern"}{"city":"Bern"}');
    const raw = await client.messages.create({ ...given, stream: true });
    const blocks: string[] = [];
    for await (const event of raw) if ("index" in event) blocks.push(`${event.index} ${event.type.slice(14)}`);
    // Claude Code asks again, not streamed, if a block ends under another's index.
    expect(blocks).toEqual([0, 1, 2].flatMap((at) => [`${at} start`, `${at} delta`, `${at} stop`]));
    const { name, description, input_schema: parameters } = weather;
    expect(sent[0]?.tools).toEqual([{ name, description, parameters }]);
  });

  test.each([
    [{ type: "auto" }, { toolChoice: "auto" }],
    [{ type: "any" }, { toolChoice: "required" }],
    [{ type: "none" }, { toolChoice: "none" }],
    [
      { type: "tool", name: "get_weather", disable_parallel_tool_use: true },
      { toolChoice: { name: "get_weather" }, singleCall: true },
    ],
  ] as const)("tool_choice %j", async (choice, expected) => {
    const { client, sent } = await openScripted(async () => ({
      text: "",
      toolCalls: choice.type === "none" ? [] : [call],
    }));
    await client.messages.create({ ...plain, tools: [weather], tool_choice: choice });
    expect(sent[0]).toMatchObject(expected);
  });

  test("the client's tool runner calls them and gives their results", async () => {
    const { client, sent } = await openScripted(async ({ messages }) =>
      messages.at(-1)?.role === "tool"
        ? { text: `It is ${String(messages.at(-1)?.content)}.` }
        : { text: "", toolCalls: [call] },
    );
    const tool = betaTool({
      name: "get_weather",
      description: weather.description,
      inputSchema: { ...weather.input_schema, additionalProperties: false },
      run: (input: { readonly city?: string }) => `sunny in ${input.city ?? "?"}`,
    });
    for (const stream of [false, true]) {
      const runner = client.beta.messages.toolRunner({ ...plain, tools: [tool], stream });
      const message = await runner.runUntilDone();
      expect(message.content).toMatchObject([{ type: "text", text: "It is sunny in Bern." }]);
    }
    // The client would have the server keep the conversation, and sends all of it when told that none does.
    expect(sent[1]?.messages.slice(1)).toEqual([
      { role: "assistant", content: "", toolCalls: [call] },
      { role: "tool", content: "sunny in Bern", toolCallId: "call_1", toolName: "get_weather" },
    ]);
  });

  test("results, with their images and failures, stand before what the user says beside them", async () => {
    const { client, sent } = await openScripted(async () => ({ text: "I see." }));
    await client.messages.create({
      ...plain,
      tools: [weather],
      messages: [
        hello,
        {
          role: "assistant",
          content: [
            { type: "redacted_thinking", data: "x" },
            { type: "tool_use", id: "a", name: "screenshot", input: {} },
            { type: "tool_use", id: "b", name: "get_weather", input: { city: "Bern" } },
          ],
        },
        {
          role: "user",
          content: [
            {
              type: "tool_result",
              tool_use_id: "a",
              content: [
                { type: "text", text: "the screen" },
                { type: "image", source: { type: "base64", media_type: "image/png", data: pixel } },
              ],
            },
            { type: "tool_result", tool_use_id: "b", is_error: true, content: "no such city" },
            { type: "text", text: "Go on." },
          ],
        },
      ],
    });
    expect(sent[0]?.messages.slice(1)).toEqual([
      {
        role: "assistant",
        content: "",
        toolCalls: [
          { id: "a", name: "screenshot", arguments: "{}" },
          { id: "b", name: "get_weather", arguments: '{"city":"Bern"}' },
        ],
      },
      { role: "tool", content: "the screen", toolCallId: "a", toolName: "screenshot" },
      { role: "tool", content: "Error: no such city", toolCallId: "b", toolName: "get_weather" },
      { role: "user", content: "Go on.", images: [pixel] },
    ]);
  });

  test("documents and search results of text are read as text", async () => {
    const { client, sent } = await openScripted(async () => ({ text: "Read." }));
    await client.messages.create({
      ...plain,
      messages: [
        {
          role: "user",
          content: [
            {
              type: "document",
              title: "Notes",
              source: { type: "text", media_type: "text/plain", data: "All is well." },
            },
            {
              type: "search_result",
              title: "Page",
              source: "https://a.example",
              content: [{ type: "text", text: "Found." }],
            },
            { type: "text", text: "Sum up." },
          ],
        },
      ],
    });
    expect(sent[0]?.messages).toEqual([
      { role: "user", content: "Notes\n\nAll is well.\n\nPage\nhttps://a.example\nFound.\n\nSum up." },
    ]);
  });
});

describe("what ends early", () => {
  const waiting = () => {
    const gate = createGate();
    let aborted: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (aborted = resolve));
    const opened = openScripted(async (_request, sink, signal) => {
      sink.text("Once ");
      signal.addEventListener("abort", aborted, { once: true });
      await gate.pass(signal);
      return { text: "Once " };
    });
    return { gate, ended, opened };
  };

  test("a stream that the program cancels aborts the engine's request", async () => {
    const { opened, ended } = waiting();
    const { client } = await opened;
    const stream = client.messages.stream(plain);
    stream.on("text", () => stream.abort());
    await expect(stream.done()).rejects.toThrow("aborted");
    await ended;
  });

  test("a whole answer that the program cancels does, too", async () => {
    const { opened, ended, gate } = waiting();
    const { client } = await opened;
    const abort = new AbortController();
    const answer = client.messages.create(plain, { signal: abort.signal });
    await gate.entered;
    abort.abort();
    await expect(answer).rejects.toThrow("aborted");
    await ended;
  });

  test("a failure in a stream is an event, which the client throws", async () => {
    const { client, engine } = await openScripted(async (_request, sink) => {
      sink.text("Once ");
      throw Object.assign(new Error("secret of the inside"), {});
    });
    const stream = client.messages.stream(plain);
    const failed = await failureOf(stream.finalMessage());
    expect(failed).toBeInstanceOf(APIError);
    expect(failed.type).toBe("api_error");
    expect(JSON.stringify(failed.error)).not.toContain("secret");
    expect(engine.calls).toBeDefined();
  });
});

test("64 streams at once get their own answers, whole", async () => {
  const { client } = await openScripted(async ({ messages }, sink) => {
    const said = messages.at(-1)?.content ?? "";
    for (const word of said.split(" ")) {
      sink.text(`${word} `);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { text: `${said} ` };
  });
  const asked = Array.from({ length: 64 }, (_, at) => `prompt ${at} has its own mark ${at * 7919}`);
  const answers = await Promise.all(
    asked.map(async (content) => {
      const stream = client.messages.stream({ ...plain, messages: [{ role: "user", content }] });
      return (await stream.finalText()).trim();
    }),
  );
  expect(answers).toEqual(asked);
});
