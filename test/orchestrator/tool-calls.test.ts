import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Chat, ToolCall } from "../../src/orchestrator/api/chat.ts";
import { Cancelled, CheckFailed, GenerationFailed } from "../../src/orchestrator/api/errors.ts";
import type { GenerateRequest } from "../../src/orchestrator/api/facade.ts";
import type { Generation, GenerationRequest } from "../../src/orchestrator/engines/generation.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const withTools = { capabilities: ["completion", "tools"] as const };
const small = fakeModel("llama3.2:1b", gigabyte, { parameterSize: "1B", ...withTools });
const large = fakeModel("llama3.1:8b", 5 * gigabyte, { parameterSize: "8B", ...withTools });

const edit = {
  name: "edit",
  parameters: {
    type: "object",
    properties: { path: { type: "string" }, line: { type: "integer" } },
    required: ["path"],
    additionalProperties: false,
  },
};
const time = { name: "time", parameters: { type: "object", properties: {} } };
const messages = [{ role: "user", content: "change a.md" }] as const;

const called = (name: string, json: string, id = "call_1"): ToolCall => ({ id, name, arguments: json });
const good = called("edit", '{ "path": "a.md" }');
const wrong = called("edit", '{"path": 7}');
const calls = (...toolCalls: readonly ToolCall[]) => ({ text: "", toolCalls });

/** An engine whose models answer in turn, in pieces of three characters, the last answer again and again. */
function setUp(
  answers: Readonly<Record<string, readonly Partial<Generation>[]>>,
  { settings = {}, models = [small] }: { settings?: object; models?: Parameters<typeof createFakeEngine>[1] } = {},
) {
  const requests: GenerationRequest[] = [];
  const engine = createFakeEngine("ollama", models);
  const { generate: generateOnce } = engine;
  engine.generate = async (request, sink, signal) => {
    const own = answers[request.model] ?? [];
    const asked = requests.filter(({ model }) => model === request.model).length;
    requests.push(request);
    const answer = own[Math.min(asked, own.length - 1)] ?? {};
    for (const piece of answer.text?.match(/[\s\S]{1,3}/g) ?? []) sink.text(piece);
    for (const [index, call] of (answer.toolCalls ?? []).entries()) sink.toolCall?.({ index, ...call });
    const generation = await generateOnce.call(
      engine,
      request,
      { ...sink, text: () => undefined, phase: () => undefined },
      signal,
    );
    return { ...generation, ...answer };
  };
  const harness = createTestOrchestrator([engine], { settings });
  const request = (chat: Partial<Chat> = {}, more: Partial<GenerateRequest> = {}): GenerateRequest => ({
    prompt: "change a.md",
    model: small.name,
    chat: { messages, sampling: {}, tools: [edit, time], ...chat },
    ...more,
  });
  const ask = (...given: Parameters<typeof request>) => harness.generate(request(...given));
  return { engine, requests, ask, request, ...harness };
}

const failureOf = (asked: Promise<unknown>) => asked.catch((error: unknown) => error as CheckFailed);

describe("calls of tools", () => {
  it("that match pass as they are, after one request", async () => {
    const { ask, requests } = setUp({
      [small.name]: [{ text: "I'll edit it.", toolCalls: [good, called("time", "")] }],
    });
    expect(await ask()).toMatchObject({
      text: "I'll edit it.",
      toolCalls: [good, { ...called("time", ""), arguments: "{}" }],
      notes: [],
      completionTokens: 3,
    });
    expect(requests).toHaveLength(1);
  });

  it("that don't match are asked for once more, with another seed and what was wrong", async () => {
    const bad = [
      wrong,
      called("time", "{}", "call_2"),
      called("edit", "{oops", "call_3"),
      called("remove", "{}", "call_4"),
    ];
    const { ask, requests } = setUp({ [small.name]: [{ text: "Well.", toolCalls: bad }, calls(good)] });
    const { toolCalls, text, promptTokens, completionTokens, notes, route } = await ask({
      sampling: { seed: 41, topK: 7 },
    });
    expect({ toolCalls, text, promptTokens, completionTokens }).toEqual({
      toolCalls: [good],
      text: "Well.",
      promptTokens: 10,
      completionTokens: 6,
    });
    expect(notes).toEqual(["models answered 2 times for the check: the tokens are those of all"]);
    expect(route.attempts).toHaveLength(1);
    const [first, second] = requests;
    expect(first?.sampling).toEqual({ seed: 41, topK: 7 });
    expect(second).toMatchObject({ sampling: { seed: 42, topK: 7 }, tools: [edit, time] });
    const [assistant, ...told] = second?.messages.slice(messages.length) ?? [];
    expect(assistant).toEqual({
      role: "assistant",
      content: "Well.",
      toolCalls: bad.map((call) => (call.id === "call_3" ? { ...call, arguments: "{}" } : call)),
    });
    expect(told.map(({ role, toolCallId, toolName }) => [role, toolCallId, toolName])).toEqual(
      bad.map(({ id, name }) => ["tool", id, name]),
    );
    expect(told.map(({ content }) => content)).toEqual([
      expect.stringMatching(
        /^Error: you called edit with arguments that don't match its schema: \/path: .*"string"\. Call/,
      ),
      "Not done. Call it again, too.",
      expect.stringMatching(/^Error: you called edit with arguments that are no JSON object: .*\. Call/),
      'Error: you called "remove", which is none of the tools: edit, time. Call again, corrected.',
    ]);
  });

  it("gets a random seed where the program gave none", async () => {
    const { ask, requests } = setUp({ [small.name]: [calls(wrong), calls(good)] });
    await ask();
    expect(requests.map(({ sampling }) => sampling.seed)).toEqual([undefined, expect.any(Number)]);
  });

  it("that stay wrong are an error that names model, tool and place, and no text", async () => {
    const { ask, requests, engine } = setUp({ [small.name]: [calls(called("edit", '{"path": "a.', "x"))] });
    const failure = await failureOf(ask());
    expect(failure).toBeInstanceOf(CheckFailed);
    expect((failure as CheckFailed).message).toMatch(
      /^llama3\.2:1b called edit with arguments that are no JSON object: /,
    );
    expect(requests).toHaveLength(2);
    engine.generate = () => Promise.reject(new GenerationFailed("it crashed"));
    await expect(ask(), "and the model is not cooling down").rejects.toThrow("it crashed");
  });

  it("that were cut by the limit say so", async () => {
    const { ask } = setUp({ [small.name]: [{ ...calls(called("edit", '{"path": "a')), finishReason: "length" }] });
    const failure = await failureOf(ask({}, { maxTokens: 9 }));
    expect((failure as CheckFailed).message).toContain("ended with its limit of tokens");
    expect((failure as CheckFailed).next[0]).toEqual({ step: "raiseArgument", argument: "maxTokens" });
  });

  it("that stay wrong are asked of a stronger model, unless a part of the answer was passed on", async () => {
    const settings = { model: { default: small.name } };
    const auto = { prompt: "change a.md", chat: { messages, sampling: {}, tools: [edit, time] } };
    const silent = setUp(
      { [small.name]: [calls(wrong)], [large.name]: [calls(good)] },
      { settings, models: [small, large] },
    );
    expect(await silent.generate(auto)).toMatchObject({ model: large.name, toolCalls: [good] });
    const streamed = setUp(
      { [small.name]: [{ text: "Well.", toolCalls: [wrong] }], [large.name]: [calls(good)] },
      { settings, models: [small, large] },
    );
    await expect(streamed.generate(auto)).rejects.toThrow("llama3.2:1b called edit with arguments that don't match");
    expect(streamed.requests.map(({ model }) => model)).toEqual([small.name, small.name]);
    const whole = { ...auto, chat: { ...auto.chat, isStreamed: false } };
    expect(await streamed.generate(whole), "a program that gets it whole").toMatchObject({ model: large.name });
  });

  it("passes no text on twice: of the second answer its calls count, or what it says instead", async () => {
    const first = { text: "I'll edit it.", toolCalls: [wrong] };
    for (const [second, text] of [
      [{ text: "I'll edit it again.", toolCalls: [good] }, "I'll edit it."],
      [{ text: "I can't.", toolCalls: [] }, "I'll edit it.\n\nI can't."],
    ] as const) {
      const { orchestrator, caller, request } = setUp({ [small.name]: [first, second] });
      const operation = await orchestrator.generate(caller(), request());
      const seen = new Set<string>();
      const result = await operation.follow(caller().signal, () => seen.add(operation.partial()?.text ?? ""));
      expect(result.text).toBe(text);
      expect(
        [...seen].every((each) => text.startsWith(each)),
        [...seen].join("|"),
      ).toBe(true);
      expect(operation.partial()?.text).toBe("I'll edit it.");
    }
  });

  it("are made, or not, as the request says", async () => {
    const free = setUp({ [small.name]: [{ text: "No." }, calls(good)] });
    expect(await free.ask({ toolChoice: "required" })).toMatchObject({ text: "No.", toolCalls: [good] });
    expect(free.requests[1]?.messages.at(-1)).toEqual({
      role: "user",
      content: "You called no tool, though a call is required. Answer again, corrected.",
    });
    const named = setUp({ [small.name]: [calls(called("time", "{}")), calls(good)] });
    expect(await named.ask({ toolChoice: { name: "edit" } })).toMatchObject({ toolCalls: [good] });
    expect(named.requests[1]?.messages.at(-1)?.content).toBe(
      "Error: you called time, though edit is required. Call again, corrected.",
    );
    const none = setUp({ [small.name]: [calls(good), { text: "So be it." }] });
    const { toolCalls, text } = await none.ask({ toolChoice: "none" });
    expect({ toolCalls, text }).toEqual({ toolCalls: undefined, text: "So be it." });
    const single = setUp({ [small.name]: [calls(good, wrong)] });
    const { toolCalls: kept, notes } = await single.ask({ singleCall: true });
    expect({ kept, notes }).toEqual({ kept: [good], notes: ["1 of 2 calls left out: one was allowed"] });
    const never = setUp({ [small.name]: [{ text: "No." }] });
    await expect(never.ask({ toolChoice: { name: "edit" } })).rejects.toThrow(
      "called no tool, though edit is required",
    );
  });

  it("of a tool whose schema can't be used are not checked, and no connection is opened for it", async () => {
    let connections = 0;
    const server = createServer()
      .on("connection", () => (connections += 1))
      .listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    for (const parameters of [
      { $ref: `http://127.0.0.1:${port}/schema.json` },
      { type: "object", properties: { path: { $ref: "#/$defs/nothing" } } },
      { type: "struct" },
      {
        $schema: "http://json-schema.org/draft-07/schema#",
        type: "object",
        definitions: { a: { $ref: "#/definitions/a" } },
        properties: { path: { $ref: "#/definitions/a" } },
        required: ["path"],
      },
    ]) {
      const { ask, requests } = setUp({ [small.name]: [calls(wrong)] });
      expect(await ask({ tools: [{ name: "edit", parameters }] })).toMatchObject({ toolCalls: [wrong] });
      expect(requests).toHaveLength(1);
    }
    expect(connections).toBe(0);
  });

  it("are checked by schemas of every draft, also by those that may take long", async () => {
    const path = { type: "string", pattern: "^(a+)+$" };
    for (const parameters of [
      {
        $schema: "http://json-schema.org/draft-07/schema#",
        type: "object",
        definitions: { path },
        properties: { path: { $ref: "#/definitions/path" } },
      },
      {
        $schema: "https://json-schema.org/draft/2020-12/schema",
        type: "object",
        $defs: { path },
        properties: { path: { $ref: "#/$defs/path" } },
      },
    ]) {
      const { ask, requests } = setUp({
        [small.name]: [calls(called("edit", '{"path":"b"}')), calls(called("edit", '{"path":"aa"}'))],
      });
      expect((await ask({ tools: [{ name: "edit", parameters }] })).toolCalls?.[0]?.arguments).toBe('{"path":"aa"}');
      expect(requests).toHaveLength(2);
    }
    const endless = called("edit", JSON.stringify({ path: `${"a".repeat(40)}!` }));
    const { ask } = setUp({ [small.name]: [calls(endless)] });
    const tools = [{ name: "edit", parameters: { type: "object", properties: { path } } }];
    expect(await ask({ tools }), "a check without an end fails no call").toMatchObject({ toolCalls: [endless] });
  });

  it("are cancelled in the middle of the second try", async () => {
    const { engine, orchestrator, caller, request } = setUp({ [small.name]: [calls(wrong)] });
    const gate = createGate();
    const { generate } = engine;
    let asked = 0;
    engine.generate = async (given, sink, signal) => {
      asked += 1;
      if (asked === 2) await gate.pass(signal);
      return generate.call(engine, given, sink, signal);
    };
    const abort = new AbortController();
    const asking = caller({ signal: abort.signal });
    const work = (await orchestrator.generate(asking, request())).follow(abort.signal);
    await gate.entered;
    abort.abort();
    await expect(work).rejects.toBeInstanceOf(Cancelled);
  });
});

describe("calls that a model wrote as text", () => {
  const json = '{"name": "edit", "arguments": {"path": "a.md"}}';

  it("become calls, and are never shown as text", async () => {
    const { orchestrator, caller, request } = setUp({
      [small.name]: [{ text: `I'll edit it.\n\`\`\`json\n${json}\n\`\`\`` }],
    });
    const operation = await orchestrator.generate(caller(), request({ toolChoice: "required" }));
    const seen = new Set<string>();
    const result = await operation.follow(caller().signal, () => seen.add(operation.partial()?.text ?? ""));
    expect(result).toMatchObject({
      text: "I'll edit it.\n",
      toolCalls: [{ id: expect.stringMatching(/^call_/) as string, name: "edit", arguments: '{"path":"a.md"}' }],
      notes: ["1 call read from the text of llama3.2:1b"],
    });
    expect(
      [...seen].every((each) => "I'll edit it.\n".startsWith(each)),
      [...seen].join("|"),
    ).toBe(true);
  });

  it("are checked like others", async () => {
    const { ask, requests } = setUp({
      [small.name]: [{ text: '<tool_call>{"name": "edit", "arguments": {"path": 7}}</tool_call>' }, { text: json }],
    });
    expect((await ask()).toolCalls?.map((call) => call.arguments)).toEqual(['{"path":"a.md"}']);
    expect(requests[1]?.messages.at(-1)?.content).toContain("don't match its schema: /path");
  });

  it("may repeat themselves, as those that the server reads; other text may not", async () => {
    const rows = "  { id: 1, name: 'one', price: 10 },\n".repeat(200);
    const long = JSON.stringify({ name: "edit", arguments: { path: rows } });
    const { ask } = setUp({ [small.name]: [{ text: long }] });
    expect((await ask()).toolCalls?.map((call) => call.arguments)).toEqual([JSON.stringify({ path: rows })]);
    const loop = setUp({ [small.name]: [{ text: rows }] });
    loop.engine.answer = (_request, _sink, signal) => Promise.reject(signal.aborted ? signal.reason : new Error("no"));
    expect(await loop.ask()).toMatchObject({ finishReason: "repetition" });
  });

  it("count once if the server reads them, too", async () => {
    const { ask } = setUp({ [small.name]: [{ text: json, toolCalls: [good] }] });
    const { toolCalls, notes, text } = await ask();
    expect({ toolCalls, notes, text }).toEqual({ toolCalls: [good], notes: [], text: "" });
  });

  it("are none in an answer with a format, without tools, or where no call is allowed", async () => {
    const requests: readonly Parameters<ReturnType<typeof setUp>["ask"]>[] = [
      [{}, { format: "json" }],
      [{ toolChoice: "none" }],
      [{ tools: [] }],
    ];
    for (const given of requests) {
      const { ask } = setUp({ [small.name]: [{ text: json }] });
      const { text, toolCalls } = await ask(...given);
      expect({ text, toolCalls }).toEqual({ text: json, toolCalls: undefined });
    }
  });
});
