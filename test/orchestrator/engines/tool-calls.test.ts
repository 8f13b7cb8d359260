import { describe, expect, it } from "vitest";
import type { GenerationRequest } from "../../../src/orchestrator/engines/generation.ts";
import { chatRequest, createRecorder, never, rejection, startPair as startOllama } from "./ollama/fixture.ts";
import { startPair as startOpenAi } from "./openai/fixture.ts";

const tools = [
  { name: "read", parameters: { type: "object", properties: { path: { type: "string" } }, required: ["path"] } },
  { name: "list", parameters: { type: "object", properties: {} } },
];
const asked = (more: Partial<GenerationRequest> = {}) => chatRequest({ model: "k2", tools, ...more });
const inOllama = (more: Partial<GenerationRequest> = {}) => asked({ model: "qwen3:0.6b", ...more });
const qwen = { name: "qwen3:0.6b", capabilities: ["completion", "tools", "thinking"] };

/** A stream of these deltas, from a cloud. */
async function answerOf(deltas: readonly object[], request = asked()) {
  const { engine, fake } = await startOpenAi({ dialect: "cloud", models: [{ id: "k2" }] }, { serverKind: "cloud" });
  const events = [
    ...deltas.map((delta) => ({ model: "k2", choices: [{ index: 0, delta, finish_reason: null }] })),
    { model: "k2", choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] },
    { model: "k2", choices: [], usage: { prompt_tokens: 40, completion_tokens: 12 } },
  ];
  const body = `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("")}data: [DONE]\n\n`;
  fake.misbehave({ kind: "status", status: 200, headers: { "content-type": "text/event-stream" }, body });
  return await engine.generate(request, createRecorder(), never);
}
const piece = (more: object, called?: object) => ({ ...more, ...(called && { function: called }) });
const calls = (...pieces: readonly object[]) => ({ tool_calls: pieces });

describe("calls as servers with OpenAI's protocol send them", () => {
  it("come in pieces by index, interleaved, beside text", async () => {
    const generation = await answerOf([
      { content: "I look." },
      calls(piece({ index: 0, id: "a" }, { name: "read", arguments: "" })),
      calls(piece({ index: 1, id: "b" }, { name: "list", arguments: "{" })),
      calls(piece({ index: 0 }, { arguments: '{"path":' }), piece({ index: 1 }, { arguments: "}" })),
      calls(piece({ index: 0 }, { arguments: '"x"}' })),
    ]);
    expect(generation).toMatchObject({
      text: "I look.",
      finishReason: "stop",
      toolCalls: [
        { id: "a", name: "read", arguments: '{"path":"x"}' },
        { id: "b", name: "list", arguments: "{}" },
      ],
    });
    expect(generation).not.toHaveProperty("estimatedUsage");
  });

  it("may be whole, without index and id, with an object, all numbered 0, without arguments", async () => {
    const whole = await answerOf([
      calls(piece({}, { name: "read", arguments: { path: "x" } }), piece({}, { name: "list", arguments: null })),
    ]);
    expect(whole.toolCalls).toMatchObject([
      { name: "read", arguments: '{"path":"x"}' },
      { name: "list", arguments: "{}" },
    ]);
    const ids = whole.toolCalls?.map(({ id }) => id) ?? [];
    expect(new Set(ids).size).toBe(2);
    const zeros = await answerOf([
      calls(piece({ index: 0, id: "a" }, { name: "read", arguments: '{"path":"x"}' })),
      calls(piece({ index: 0, id: "b" }, { name: "read", arguments: '{"path":"y"}' })),
    ]);
    expect(zeros.toolCalls?.map(({ arguments: json }) => json)).toEqual(['{"path":"x"}', '{"path":"y"}']);
  });

  it("have ids that no call of the conversation has", async () => {
    const messages: GenerationRequest["messages"] = [
      { role: "user", content: "Read x." },
      { role: "assistant", content: "", toolCalls: [{ id: "read:0", name: "read", arguments: '{"path":"x"}' }] },
      { role: "tool", content: "nothing", toolCallId: "read:0" },
    ];
    const delta = calls(piece({ index: 0, id: "read:0" }, { name: "read", arguments: "{}" }));
    const { toolCalls = [] } = await answerOf([delta], asked({ messages }));
    expect(toolCalls[0]?.id).not.toBe("read:0");
    expect(toolCalls[0]?.id).not.toBe("");
  });

  it("of garbage are calls that a check can name, and never an error of the adapter", async () => {
    const { toolCalls } = await answerOf([
      calls(piece({ index: 0 }), { index: 0, function: 7 }),
      { tool_calls: [null, 7, "x"] },
      { tool_calls: "read" },
      calls(piece({ index: 3 }, { arguments: '{"path":' })),
    ]);
    for (const { id, name } of toolCalls ?? []) {
      expect(id).not.toBe("");
      expect(name).toBe("");
    }
  });

  it("go back with the thinking before them, unless the model refuses that", async () => {
    const messages: GenerationRequest["messages"] = [
      { role: "user", content: "Read x." },
      {
        role: "assistant",
        content: "",
        thinking: "A file.",
        toolCalls: [{ id: "a", name: "read", arguments: '{"path":"x"}' }],
      },
      { role: "tool", content: "nothing", toolCallId: "a", toolName: "read" },
    ];
    const { engine, fake } = await startOpenAi({ dialect: "cloud", models: [{ id: "k2" }] }, { serverKind: "cloud" });
    const error = {
      message: "Unknown parameter: 'messages[1].reasoning_content'.",
      type: "invalid_request_error",
      param: "messages[1].reasoning_content",
      code: "unknown_parameter",
    };
    fake.misbehave({ kind: "status", status: 400, body: { error } });
    await engine.generate(asked({ messages, singleCall: true, toolChoice: { name: "read" } }), createRecorder(), never);
    const [first, second] = fake.requests.filter(({ method }) => method === "POST").map(({ body }) => body);
    const called = { id: "a", type: "function", function: { name: "read", arguments: '{"path":"x"}' } };
    expect(first).toMatchObject({
      tools: tools.map((tool) => ({ type: "function", function: tool })),
      tool_choice: { type: "function", function: { name: "read" } },
      parallel_tool_calls: false,
    });
    expect(first).toHaveProperty("messages.1", {
      role: "assistant",
      content: "",
      reasoning_content: "A file.",
      tool_calls: [called],
    });
    expect(second).toHaveProperty("messages.1", { role: "assistant", content: "", tool_calls: [called] });
    expect(second).toHaveProperty("messages.2", { role: "tool", content: "nothing", tool_call_id: "a" });
  });

  it("are required of an own server by the one tool alone, and of llama-server by a form", async () => {
    const own = await startOpenAi({ dialect: "vllm", models: [{ id: "k2" }] });
    await own.engine.generate(asked({ toolChoice: { name: "list" } }), createRecorder(), never);
    expect(own.fake.requests.at(-1)?.body).toMatchObject({
      tools: [{ function: { name: "list" } }],
      tool_choice: "required",
    });
    expect(own.fake.requests.at(-1)?.body).not.toHaveProperty("response_format");
    const llama = await startOpenAi({ models: [{ id: "k2" }] });
    const generation = await llama.engine.generate(asked({ toolChoice: { name: "list" } }), createRecorder(), never);
    expect(llama.fake.requests.at(-1)?.body["tools"]).toHaveLength(2);
    expect(generation).toMatchObject({ text: "", toolCalls: [{ name: "list", arguments: "{}" }] });
  });

  it("that are cut by the limit, or take long, are no silence", async () => {
    const script = [{ calls: [{ name: "read", arguments: { path: "x/".repeat(60) } }] }];
    const options = { models: [{ id: "k2", script }], tokensPerSecond: 100 };
    const { engine } = await startOpenAi(options, { limits: { firstTokenMs: 5_000, betweenTokensMs: 250 } });
    const { toolCalls } = await engine.generate(asked(), createRecorder(), never);
    expect(toolCalls?.[0]?.arguments).toBe(JSON.stringify({ path: "x/".repeat(60) }));
    const cut = await engine.generate(asked({ maxTokens: 3 }), createRecorder(), never);
    expect(cut).toMatchObject({ finishReason: "length", toolCalls: [{ name: "read" }] });
  });
});

describe("calls in Ollama's API", () => {
  it("are sent as objects with ids, names and thinking; what is no object is sent as a text", async () => {
    const { engine, fake } = await startOllama({ models: [qwen] });
    const toolCalls = [
      { id: "a", name: "read", arguments: '{"path":"x"}' },
      { id: "b", name: "read", arguments: '{"path' },
    ];
    const messages: GenerationRequest["messages"] = [
      { role: "user", content: "Read x." },
      { role: "assistant", content: "", thinking: "A file.", toolCalls },
      { role: "tool", content: "nothing", toolCallId: "a", toolName: "read" },
    ];
    await engine.generate(inOllama({ messages }), createRecorder(), never);
    expect(fake.requests[0]?.body).toMatchObject({
      tools: tools.map((tool) => ({ type: "function", function: tool })),
      messages: [
        { role: "user" },
        {
          role: "assistant",
          content: "",
          thinking: "A file.",
          tool_calls: [
            { id: "a", function: { name: "read", arguments: { path: "x" } } },
            { id: "b", function: { name: "read", arguments: { arguments: '{"path' } } },
          ],
        },
        { role: "tool", content: "nothing", tool_call_id: "a", tool_name: "read" },
      ],
    });
    await engine.generate(inOllama({ toolChoice: "none" }), createRecorder(), never);
    expect(fake.requests[1]?.body).not.toHaveProperty("tools");
  });

  it("are bound by a format where one is required, and a server that ignores it answers with text", async () => {
    const { engine, fake } = await startOllama({ models: [{ ...qwen, json: () => "I can't." }] });
    const generation = await engine.generate(inOllama({ toolChoice: "required" }), createRecorder(), never);
    expect(fake.requests[0]?.body["format"]).toMatchObject({
      anyOf: [{ properties: { name: { const: "read" } } }, { properties: { name: { const: "list" } } }],
    });
    expect(generation.text).toBe("I can't.");
    expect(generation).not.toHaveProperty("toolCalls");
  });

  it("that are cut by the limit are an error that names the tool", async () => {
    const script = [{ calls: [{ name: "read", arguments: { path: "x/".repeat(60) } }] }];
    const { engine } = await startOllama({ models: [{ ...qwen, script }] });
    const error = await rejection(engine.generate(inOllama({ maxTokens: 10 }), createRecorder(), never));
    expect(error.message).toContain('"read"');
  });
});
