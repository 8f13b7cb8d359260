import { BadRequestError } from "openai";
import type { ResponseCreateParamsNonStreaming } from "openai/resources/responses/responses";
import { describe, expect, it } from "vitest";
import { GenerationFailed } from "../../../src/orchestrator/api/errors.ts";
import { inPieces, openAiAgainst } from "./openai-client.ts";

const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { type: "function", name: "weather", parameters: city, strict: false } as const;
const parisCall = { id: "call_1", name: "weather", arguments: '{"city":"Paris"}' };

describe("POST /v1/responses", () => {
  it("answers whole, and stores nothing", async () => {
    const { client, last } = await openAiAgainst({ answer: inPieces(["Hel", "lo"], {}, ["Greet."]) });
    const answer = await client.responses.create({
      model: "able:1b",
      instructions: "Be kind.",
      input: "Hi",
      max_output_tokens: 20,
      temperature: 0.2,
      reasoning: { effort: "low" },
    });
    expect(answer).toMatchObject({
      object: "response",
      status: "completed",
      model: "able:1b",
      output_text: "Hello",
      store: false,
    });
    expect(answer.output.map(({ type }) => type)).toEqual(["reasoning", "message"]);
    expect(answer.output[0]).toMatchObject({ summary: [{ type: "summary_text", text: "Greet." }] });
    expect(answer.usage).toMatchObject({
      input_tokens: 40,
      input_tokens_details: { cached_tokens: 32 },
      total_tokens: 46,
    });
    expect(last()).toMatchObject({
      messages: [
        { role: "system", content: "Be kind." },
        { role: "user", content: "Hi" },
      ],
      maxTokens: 20,
      sampling: { temperature: 0.2 },
      think: "low",
    });
  });

  it("streams its events in order, numbered", async () => {
    const answer = inPieces(["Hel", "lo"], { toolCalls: [parisCall] }, ["Greet."]);
    const { client } = await openAiAgainst({ answer });
    const stream = client.responses.stream({ model: "able:1b", input: "Hi", tools: [weather] });
    const seen: string[] = [];
    const numbers: number[] = [];
    for await (const event of stream) {
      seen.push(event.type.replace("response.", ""));
      numbers.push(event.sequence_number);
    }
    expect(seen).toEqual([
      "created",
      "in_progress",
      "output_item.added",
      "reasoning_summary_part.added",
      "reasoning_summary_text.delta",
      "reasoning_summary_text.done",
      "reasoning_summary_part.done",
      "output_item.done",
      "output_item.added",
      "content_part.added",
      "output_text.delta",
      "output_text.delta",
      "output_text.done",
      "content_part.done",
      "output_item.done",
      "output_item.added",
      "function_call_arguments.delta",
      "function_call_arguments.done",
      "output_item.done",
      "completed",
    ]);
    expect(numbers).toEqual(numbers.map((_number, at) => at));
    const final = await stream.finalResponse();
    expect(final.output_text).toBe("Hello");
    expect(final.output[2]).toMatchObject({
      type: "function_call",
      call_id: "call_1",
      name: "weather",
      arguments: '{"city":"Paris"}',
    });
    expect(final.usage?.output_tokens).toBe(6);
  });

  it("reads items as a conversation: an assistant's thoughts, words and calls are one message", async () => {
    const { client, last } = await openAiAgainst();
    await client.responses.create({
      model: "able:1b",
      input: [
        { role: "user", content: [{ type: "input_text", text: "The weather in Paris?" }] },
        { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "Look." }] },
        {
          type: "message",
          id: "msg_1",
          role: "assistant",
          status: "completed",
          content: [{ type: "output_text", text: "I look.", annotations: [] }],
        },
        { type: "function_call", call_id: "call_1", name: "weather", arguments: '{"city":"Paris"}' },
        { type: "function_call_output", call_id: "call_1", output: "sunny" },
        { role: "developer", content: "Be short." },
        { role: "user", content: "And now?" },
      ],
    });
    expect(last()?.messages).toEqual([
      { role: "user", content: "The weather in Paris?" },
      { role: "assistant", content: "I look.", thinking: "Look.", toolCalls: [parisCall] },
      { role: "tool", content: "sunny", toolCallId: "call_1", toolName: "weather" },
      { role: "system", content: "Be short." },
      { role: "user", content: "And now?" },
    ]);
  });

  it("knows Codex's namespaces and tools that take any text, and names what runs at a service", async () => {
    const toolCalls = [
      { id: "call_1", name: "agents__wait", arguments: "{}" },
      { id: "call_2", name: "apply_patch", arguments: '{"input":"*** Begin Patch"}' },
    ];
    const { client, last } = await openAiAgainst({ answer: inPieces([], { toolCalls }) });
    const tools = [
      { type: "namespace", name: "agents", description: "", tools: [{ ...weather, name: "wait" }] },
      { type: "custom", name: "apply_patch", format: { type: "grammar", syntax: "lark", definition: "start: x" } },
      { type: "web_search", external_web_access: false },
    ];
    toolCalls[0] = { id: "call_1", name: "agents__wait", arguments: '{"city":"Rome"}' };
    const input = [
      { role: "user", content: "Go" },
      { type: "function_call", call_id: "call_0", namespace: "agents", name: "wait", arguments: '{"city":"Oslo"}' },
      { type: "function_call_output", call_id: "call_0", output: "done" },
    ];
    const asked = { model: "able:1b", input, tools, store: false } as unknown as ResponseCreateParamsNonStreaming;
    const { data, response } = await client.responses.create(asked).withResponse();
    const { output } = data;
    expect(response.headers.get("ollm-ignored")).toBe("store, tools.web_search");
    expect(last()?.tools?.map(({ name }) => name)).toEqual(["agents__wait", "apply_patch"]);
    expect(last()?.messages[1]?.toolCalls?.[0]?.name).toBe("agents__wait");
    expect(output).toMatchObject([
      { type: "function_call", call_id: "call_1", namespace: "agents", name: "wait", arguments: '{"city":"Rome"}' },
      { type: "custom_tool_call", call_id: "call_2", name: "apply_patch", input: "*** Begin Patch" },
    ]);
  });

  it("asks for JSON by a schema, and is incomplete where the answer was cut", async () => {
    const { client, last } = await openAiAgainst({ answer: inPieces(['{"city":"Rome"}'], { finishReason: "length" }) });
    const answer = await client.responses.create({
      model: "able:1b",
      input: "Hi",
      text: { format: { type: "json_schema", name: "city", schema: city } },
    });
    expect(last()?.format).toEqual(city);
    expect(answer).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  });

  it("fails in a stream with an event that clients throw", async () => {
    const { client } = await openAiAgainst({
      answer: async (_request, sink) => {
        sink.text("Hel");
        throw new GenerationFailed("the engine broke");
      },
    });
    const seen: string[] = [];
    const reading = async () => {
      for await (const { type } of await client.responses.create({ model: "able:1b", input: "Hi", stream: true }))
        seen.push(type);
    };
    await expect(reading()).rejects.toMatchObject({ code: "generation_failed", type: "server_error" });
    expect(seen.at(-1)).toBe("response.failed");
  });

  it.each([
    [{ previous_response_id: "resp_1" }, /previous_response_id: .*send the whole input/],
    [{ conversation: "conv_1" }, /conversation: .*send the whole input/],
    [{ background: true }, /background: /],
    [{ input: [] }, /input: /],
    [{ input: [{ type: "computer_call" }] }, /an item of type "computer_call" can't be read/],
    [{ input: [{ type: "item_reference", id: "msg_1" }] }, /nothing is stored here/],
    [
      { input: [{ role: "user", content: [{ type: "input_image", image_url: "https://a.b/c.png" }] }] },
      /nothing is fetched/,
    ],
    [{ input: [{ role: "user", content: [{ type: "input_image", file_id: "f" }] }] }, /data: URL/],
    [{ tool_choice: { type: "web_search" } }, /tool_choice: a tool of type "web_search" can't be called here/],
    [
      { tools: [{ type: "mcp", server_label: "x" }], tool_choice: "required" },
      /required, but none of the tools can be called here: tools.mcp/,
    ],
    [{ tools: [{ type: "function" }] }, /tools\.0\.name: /],
    [{ tools: [{}] }, /tools\.0\.type: a tool of type null can't be read here/],
  ])("refuses %j with what to do", async (more, expected) => {
    const { client, asked } = await openAiAgainst();
    const failed = await client.responses
      .create({ model: "able:1b", input: "Hi", ...(more as object) })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(BadRequestError);
    expect((failed as Error).message).toMatch(expected);
    expect(asked).toEqual([]);
  });
});
