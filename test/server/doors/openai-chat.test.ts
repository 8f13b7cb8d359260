import { BadRequestError } from "openai";
import type { ChatCompletionCreateParamsNonStreaming } from "openai/resources/chat/completions";
import { describe, expect, it } from "vitest";
import { inPieces, openAiAgainst } from "./openai-client.ts";

const hi = [{ role: "user", content: "Hi" }] as const;
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
} as const;
const clock = { type: "function", function: { name: "clock" } } as const;
const parisCall = { id: "call_1", name: "weather", arguments: '{"city":"Paris"}' };

describe("POST /v1/chat/completions", () => {
  it("answers whole, with the model that answered, usage and cached tokens", async () => {
    const { client, last } = await openAiAgainst({ answer: inPieces(["Hel", "lo"], {}, ["Greet ", "back."]) });
    const { data, response } = await client.chat.completions
      .create({ model: "ollm/auto", messages: [{ role: "developer", content: "Be kind." }, ...hi] })
      .withResponse();
    expect(data).toMatchObject({ object: "chat.completion", model: last()?.model });
    expect(data.id).toMatch(/^chatcmpl-/);
    expect(data.choices).toEqual([
      {
        index: 0,
        message: { role: "assistant", content: "Hello", refusal: null, reasoning_content: "Greet back." },
        logprobs: null,
        finish_reason: "stop",
      },
    ]);
    expect(data.usage).toMatchObject({
      prompt_tokens: 40,
      completion_tokens: 6,
      total_tokens: 46,
      prompt_tokens_details: { cached_tokens: 32 },
    });
    expect(response.headers.get("ollm-model")).toBe(last()?.model);
    expect(last()?.messages).toEqual([
      { role: "system", content: "Be kind." },
      { role: "user", content: "Hi" },
    ]);
  });

  it("says nothing of cached tokens where the engine tells none, and 0 where it tells 0", async () => {
    for (const cachedPromptTokens of [undefined, 0]) {
      const answer = inPieces(["Hi"], { cachedPromptTokens } as object);
      const { client } = await openAiAgainst({ answer });
      const said = { cached_tokens: cachedPromptTokens };
      const chat = await client.chat.completions.create({ model: "able:1b", messages: [...hi] });
      expect(chat.usage?.prompt_tokens_details).toEqual(cachedPromptTokens === 0 ? said : undefined);
      const response = await client.responses.create({ model: "able:1b", input: "Hi" });
      expect(response.usage?.input_tokens_details).toEqual(cachedPromptTokens === 0 ? said : null);
    }
  });

  it("streams roles, thoughts and text in the pieces that came, and usage if it is asked for", async () => {
    const { client } = await openAiAgainst({ answer: inPieces(["Hel", "lo"], {}, ["Greet."]) });
    const stream = await client.chat.completions.create({
      model: "able:1b",
      messages: [...hi],
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map(({ choices: [choice] }) => [choice?.delta, choice?.finish_reason])).toEqual([
      [{ role: "assistant", content: "" }, null],
      [{ reasoning_content: "Greet." }, null],
      [{ content: "Hel" }, null],
      [{ content: "lo" }, null],
      [{}, "stop"],
      [undefined, undefined],
    ]);
    expect(chunks.map(({ usage }) => usage?.total_tokens)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
      46,
    ]);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.every(({ model, object }) => model === "able:1b" && object === "chat.completion.chunk")).toBe(true);
  });

  it("sends no usage in a stream that doesn't ask for it, and ends it with [DONE]", async () => {
    const { listener } = await openAiAgainst();
    const { text, headers } = await listener.ask("/v1/chat/completions", {
      body: { model: "able:1b", messages: hi, stream: true },
    });
    expect(headers["content-type"]).toBe("text/event-stream");
    expect(text).not.toContain("usage");
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  it("adds nothing to what the program sends, and passes its sampling and limits on", async () => {
    const { client, last } = await openAiAgainst();
    await client.chat.completions.create({
      model: "able:1b",
      messages: [...hi],
      temperature: 0.3,
      top_p: 0.8,
      seed: 7,
      frequency_penalty: 0.1,
      presence_penalty: -0.2,
      stop: "END",
      max_tokens: 50,
      max_completion_tokens: 60,
      reasoning_effort: "minimal",
      // @ts-expect-error: a field of llama-server's.
      cache_prompt: false,
    });
    expect(last()).toMatchObject({
      messages: [{ role: "user", content: "Hi" }],
      sampling: {
        temperature: 0.3,
        topP: 0.8,
        seed: 7,
        frequencyPenalty: 0.1,
        presencePenalty: -0.2,
        stop: ["END"],
      },
      maxTokens: 60,
      think: "low",
      cachePrompt: false,
    });
    expect(Object.keys(last()?.sampling ?? {})).toHaveLength(6);
  });

  it("passes tools and a conversation with their calls on, and answers with calls", async () => {
    const { client, last } = await openAiAgainst({ answer: inPieces([], { toolCalls: [parisCall] }) });
    const answer = await client.chat.completions.create({
      model: "able:1b",
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "The weather" },
            { type: "text", text: "in Rome?" },
          ],
        },
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "call_0", type: "function", function: { name: "weather", arguments: '{"city":"Rome"}' } }],
        },
        { role: "tool", tool_call_id: "call_0", content: "sunny" },
        { role: "assistant", content: "Sunny." },
        { role: "user", content: "And in Paris?" },
      ],
      tools: [weather, clock],
      parallel_tool_calls: false,
    });
    expect(answer.choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: {
        content: null,
        tool_calls: [{ id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Paris"}' } }],
      },
    });
    expect(last()?.messages).toEqual([
      { role: "user", content: "The weather\nin Rome?" },
      { role: "assistant", content: "", toolCalls: [{ id: "call_0", name: "weather", arguments: '{"city":"Rome"}' }] },
      { role: "tool", content: "sunny", toolCallId: "call_0", toolName: "weather" },
      { role: "assistant", content: "Sunny." },
      { role: "user", content: "And in Paris?" },
    ]);
    expect(last()?.tools).toEqual([
      { name: "weather", description: "The weather of a city.", parameters: weather.function.parameters },
      { name: "clock", parameters: { type: "object", properties: {} } },
    ]);
    expect(last()?.singleCall).toBe(true);
  });

  it("streams calls so that the client puts them together", async () => {
    const calls = [parisCall, { id: "call_2", name: "clock", arguments: "{}" }];
    const { client } = await openAiAgainst({ answer: inPieces(["Let me look."], { toolCalls: calls }) });
    const runner = client.chat.completions.stream({ model: "able:1b", messages: [...hi], tools: [weather, clock] });
    const { choices } = await runner.finalChatCompletion();
    expect(choices[0]?.finish_reason).toBe("tool_calls");
    expect(choices[0]?.message.content).toBe("Let me look.");
    expect(choices[0]?.message.tool_calls).toMatchObject([
      { id: "call_1", type: "function", function: { name: "weather", arguments: '{"city":"Paris"}' } },
      { id: "call_2", type: "function", function: { name: "clock", arguments: "{}" } },
    ]);
  });

  it.each([
    ["none", undefined, "none"],
    ["auto", ["weather", "clock"], "auto"],
    ["required", ["weather", "clock"], "required"],
    [{ type: "function", function: { name: "clock" } }, ["weather", "clock"], { name: "clock" }],
    [{ type: "allowed_tools", allowed_tools: { mode: "required", tools: [clock] } }, ["clock"], "required"],
  ] as const)("reads the choice of tools %j", async (choice, tools, expected) => {
    const toolCalls = [{ id: "call_2", name: "clock", arguments: "{}" }];
    const { client, last } = await openAiAgainst({
      answer: inPieces([choice === "none" ? "No." : ""], choice === "none" ? {} : { toolCalls }),
    });
    await client.chat.completions.create({
      model: "able:1b",
      messages: [...hi],
      tools: [weather, clock],
      tool_choice: choice as ChatCompletionCreateParamsNonStreaming["tool_choice"] & object,
    });
    expect(last()?.toolChoice).toEqual(expected);
    if (tools !== undefined) expect(last()?.tools?.map(({ name }) => name)).toEqual(tools);
  });

  it("asks for JSON, with a schema or without", async () => {
    const { client, last } = await openAiAgainst({ answer: inPieces(['{"city":"Rome"}']) });
    const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const asking = { model: "able:1b", messages: [...hi] };
    const parsed = await client.chat.completions.parse({
      ...asking,
      response_format: { type: "json_schema", json_schema: { name: "city", strict: true, schema } },
    });
    expect(parsed.choices[0]?.message.parsed).toEqual({ city: "Rome" });
    expect(last()?.format).toEqual(schema);
    await client.chat.completions.create({ ...asking, response_format: { type: "json_object" } });
    expect(last()?.format).toBe("json");
    await client.chat.completions.create({ ...asking, response_format: { type: "text" } });
    expect(last()?.format).toBeUndefined();
  });

  it("passes images and recordings on", async () => {
    const { client, last } = await openAiAgainst();
    await client.chat.completions.create({
      model: "able:1b",
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "What is this?" },
            { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } },
            { type: "input_audio", input_audio: { data: "UklGRg==", format: "wav" } },
          ],
        },
      ],
    });
    expect(last()?.messages).toEqual([
      { role: "user", content: "What is this?", images: [pixel], audio: [{ data: "UklGRg==", format: "wav" }] },
    ]);
  });

  it("ends with length where the answer was cut", async () => {
    const { client } = await openAiAgainst({ answer: inPieces(["Once"], { finishReason: "length" }) });
    const { choices } = await client.chat.completions.create({ model: "able:1b", messages: [...hi], max_tokens: 1 });
    expect(choices[0]?.finish_reason).toBe("length");
  });

  const content = (part: object) => ({ messages: [{ role: "user", content: [part] }] });
  it.each([
    [{ n: 2 }, /n: one answer is given/],
    [{ logprobs: true }, /logprobs: the likelihoods of tokens can't be had/],
    [{ logit_bias: { 50_256: -100 } }, /logit_bias: /],
    [{ functions: [{ name: "f" }] }, /functions: .* send tools/],
    [{ modalities: ["text", "audio"] }, /modalities: only text/],
    [{ messages: [] }, /messages: /],
    [{ messages: undefined }, /messages: /],
    [{ messages: "Hi" }, /messages: /],
    [{ messages: [{ role: "function", content: "" }] }, /messages\.0\.role: .*tools here/],
    [{ messages: [{ role: "narrator", content: "" }] }, /role must be system, .* not "narrator"/],
    [{ messages: [{ role: "user", content: 7 }] }, /messages\.0\.content: /],
    [{ messages: [{ role: "tool", content: "x" }] }, /messages\.0\.tool_call_id/],
    [content({ type: "image_url", image_url: { url: "https://example.com/a.png" } }), /url: nothing is fetched here/],
    [content({ type: "image_url", image_url: { url: "data:image/png,raw" } }), /must be a data: URL of an image/],
    [content({ type: "input_audio", input_audio: { data: "UklGRg==", format: "flac" } }), /format: .*wav/],
    [content({ type: "file", file: { file_id: "file-1" } }), /a part of type "file" can't be read here/],
    [{ tools: [{ type: "custom", custom: { name: "f" } }] }, /tools\.0\.type: only functions/],
    [{ tools: [clock], tool_choice: weather }, /tool_choice: tools has no function "weather"/],
    [{ tool_choice: "required" }, /tool_choice: required, but tools is empty/],
    [{ temperature: 9 }, /temperature: /],
    [{ max_tokens: 0 }, /max_tokens: /],
    [{ stop: ["", "a"] }, /stop\.0: /],
    [{ model: "" }, /model: /],
  ])("refuses %j with what to do", async (more, expected) => {
    const { client, asked } = await openAiAgainst();
    const failed = await client.chat.completions
      .create({ model: "able:1b", messages: [...hi], ...(more as object) })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(BadRequestError);
    expect(failed).toMatchObject({ status: 400, type: "invalid_request_error", code: "invalid_request" });
    expect((failed as Error).message).toMatch(expected);
    expect(asked).toEqual([]);
  });

  it("ignores null and what changes nothing here", async () => {
    const { client, last } = await openAiAgainst();
    const harmless = {
      n: 1,
      logprobs: false,
      logit_bias: {},
      tools: null,
      stop: null,
      user: "u",
      store: true,
      metadata: { a: "b" },
      service_tier: "auto",
      prompt_cache_key: "k",
      verbosity: "low",
      unheard_of: [1],
    };
    const { response } = await client.chat.completions
      .create({ model: "able:1b", messages: [...hi], ...(harmless as object) })
      .withResponse();
    expect(response.headers.get("ollm-ignored")).toMatch(/^user, store, metadata, .*unheard_of$/);
    expect(last()?.messages).toEqual([{ role: "user", content: "Hi" }]);
  });
});
