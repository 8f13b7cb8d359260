import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cancelled, InvalidRequest, UnsupportedCapability } from "../../../../src/orchestrator/api/errors.ts";
import type { ChatMessage, ToolDefinition } from "../../../../src/orchestrator/api/chat.ts";
import type { GenerationRequest } from "../../../../src/orchestrator/engines/generation.ts";
import { installedEngine } from "../../../support/engine.ts";
import { toolsTemplate, writeTinyGguf } from "../../../support/tiny-gguf.ts";
import { type EngineUnderTest, never, setupLimitMs, startEngine, testLimitMs, until } from "./engine-under-test.ts";

/** Their weights recite a sentence; a grammar leaves them no choice but that of these tools. */
const files = {
  "caller:tiny": { says: "I will look. <tool_call> and more", chatTemplate: toolsTemplate },
  "loop:tiny": { says: "\n<tool_call> again", chatTemplate: toolsTemplate },
  "writer:tiny": { says: 'Here it is: {"name": "turn" } and no call.', chatTemplate: toolsTemplate },
  "fence:tiny": { says: '```json\n{ "name": "turn", "arguments": {} } ```', chatTemplate: toolsTemplate },
  "thinker:tiny": {
    says: "<think>\nFirst I consider it.\n</think>\n\nNow. <tool_call> on",
    chatTemplate: toolsTemplate.replace(
      "{% if message.content or",
      "{% if message.reasoning_content %}{{ '\\n<think>\\n' + message.reasoning_content + '\\n</think>\\n' }}{% endif %}{% if message.content or",
    ),
  },
  "json:tiny": { says: '{"done": true}', chatTemplate: toolsTemplate },
  "endless:tiny": { isEndless: true, says: "and so on and on", chatTemplate: toolsTemplate },
  "plain:tiny": {},
};
type Model = keyof typeof files;

const turn: ToolDefinition = {
  name: "turn",
  description: "Turns the lamp",
  parameters: { type: "object", properties: { to: { enum: ["on"] }, lamps: { const: [1, 2] } }, required: ["to"] },
};
/** Its name begins with the other one's. */
const turnAll: ToolDefinition = { name: "turn_all", parameters: { type: "object", properties: {} } };
/** Its arguments don't end by themselves. */
const note: ToolDefinition = {
  name: "note",
  parameters: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
};
const user: ChatMessage = { role: "user", content: "Light, please." };

let folder: string;
let subject: EngineUnderTest;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ollm-tools-"));
  const { modulePath } = await installedEngine();
  const paths: Record<string, string> = {};
  for (const [name, model] of Object.entries(files)) {
    paths[name] = join(folder, `${name.replace(":", "-")}.gguf`);
    await writeTinyGguf(paths[name], model);
  }
  subject = await startEngine(modulePath, paths);
}, setupLimitMs);
afterAll(async () => {
  await subject.dispose();
  await rm(folder, { recursive: true, force: true });
}, testLimitMs);

async function ask(
  model: Model,
  request: Partial<GenerationRequest>,
  { signal = never, onCall = () => {} }: { readonly signal?: AbortSignal; readonly onCall?: () => void } = {},
) {
  const heard = { text: "", phases: [] as string[], calls: [] as { name: string; arguments: string }[] };
  const generation = await subject.engine.generate(
    {
      model,
      messages: [user],
      maxTokens: 400,
      sampling: { temperature: 0 },
      contextTokens: 2_048,
      tools: [turn],
      ...request,
    },
    {
      text: (delta) => (heard.text += delta),
      thinking: () => {},
      phase: (phase) => heard.phases.push(phase),
      toolCall(delta) {
        if (delta.name !== undefined) heard.calls[delta.index] = { name: delta.name, arguments: "" };
        const call = heard.calls[delta.index];
        if (call) call.arguments += delta.arguments;
        onCall();
      },
    },
    signal,
  );
  return { ...generation, heard };
}
const count = (model: Model, request: Partial<GenerationRequest>) =>
  subject.engine.tokenizer?.countPrompt({ model, messages: [user], tools: [turn], ...request }, never);
const written = ({ toolCalls = [] }: Awaited<ReturnType<typeof ask>>) =>
  toolCalls.map(({ name, arguments: text }) => ({ name, arguments: text }));

describe("tools of the embedded engine", { timeout: testLimitMs }, () => {
  it("are a capability of models whose template has them; for others they are an error with next steps", async () => {
    expect((await subject.engine.describe("caller:tiny", never)).capabilities).toContain("tools");
    expect((await subject.engine.describe("plain:tiny", never)).capabilities).not.toContain("tools");
    const error: unknown = await ask("plain:tiny", {}).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnsupportedCapability);
    expect((error as UnsupportedCapability).next).not.toEqual([]);
    expect((await ask("plain:tiny", { tools: [] })).text).not.toBe("");
    expect((await ask("plain:tiny", { toolChoice: "none" })).text).not.toBe("");
  });

  it("are called where the model begins a call, after its text; what streams is the result", async () => {
    const answer = await ask("caller:tiny", {});
    expect(answer.text.trim()).toBe("I will look.");
    expect(answer.heard.text).toBe(answer.text);
    expect(answer.heard.calls).toEqual(written(answer));
    expect(written(answer)[0]?.name).toBe("turn");
    expect(JSON.parse(written(answer)[0]?.arguments ?? "")).toMatchObject({ to: "on" });
    expect(answer.finishReason).toBe("stop");
    expect(answer.toolCalls?.[0]?.id).toMatch(/^call_./);
    expect((await ask("caller:tiny", {})).toolCalls?.[0]?.id).not.toBe(answer.toolCalls?.[0]?.id);
  });

  it("are called where the model writes JSON in a block of code instead", async () => {
    const answer = await ask("fence:tiny", {});
    expect(answer.text).toBe("");
    expect(written(answer)).toEqual([{ name: "turn", arguments: expect.stringContaining('"to": "on"') as string }]);
  });

  it("are called beside thoughts, which the next turn has, too", async () => {
    const answer = await ask("thinker:tiny", { think: true });
    expect(answer.thinking?.trim()).toBe("First I consider it.");
    expect(answer.text.trim()).toBe("Now.");
    expect(written(answer)[0]?.name).toBe("turn");
    const { text: content, thinking = "", toolCalls = [] } = answer;
    const results = toolCalls.map(({ id }) => ({ role: "tool", content: "It is on.", toolCallId: id }) as const);
    const messages = [user, { role: "assistant", content, thinking, toolCalls } as const, ...results];
    const next = await ask("thinker:tiny", { messages, think: true });
    expect(next.promptTokens).toBe(await count("thinker:tiny", { messages, think: true }));
    expect(next.cachedPromptTokens).toBeGreaterThanOrEqual(answer.promptTokens);
    // A grammar from the first token has no place for thoughts.
    const forced = await ask("thinker:tiny", { think: true, toolChoice: "required", singleCall: true });
    expect(forced.thinking).toBeUndefined();
    expect(forced.toolCalls).toHaveLength(1);
  });

  it("are not called by JSON that is no call", async () => {
    const answer = await ask("writer:tiny", { tools: [turnAll] });
    expect(answer.toolCalls).toBeUndefined();
    expect(answer.text).toContain("no call.");
  });

  it("are called more than once, unless one call is asked for; a call that repeats ends the answer", async () => {
    const many = await ask("loop:tiny", { tools: [turn, note], sampling: { temperature: 2, seed: 3 }, maxTokens: 600 });
    expect(many.toolCalls?.length).toBeGreaterThan(1);
    expect(new Set(many.toolCalls?.map(({ id }) => id)).size).toBe(many.toolCalls?.length);
    expect(new Set(written(many).map((call) => JSON.stringify(call))).size).toBe(many.toolCalls?.length);
    expect(many.heard.calls).toEqual(written(many));
    const repeated = await ask("loop:tiny", { tools: [turnAll] });
    expect(written(repeated)).toEqual([{ name: "turn_all", arguments: "{}" }]);
    expect(repeated.heard.calls).toEqual(written(repeated));
    expect(repeated.finishReason).toBe("stop");
    const one = await ask("loop:tiny", { singleCall: true });
    expect(one.toolCalls).toHaveLength(1);
    expect(one.finishReason).toBe("stop");
  });

  it("are called if that is required, by name too, also where a name begins with another one", async () => {
    const tools = [turnAll, turn];
    expect((await ask("endless:tiny", { tools, toolChoice: "required" })).text).toBe("");
    for (const { name } of tools)
      expect(written(await ask("endless:tiny", { tools, toolChoice: { name }, singleCall: true }))[0]?.name).toBe(name);
    const unknown = ask("caller:tiny", { toolChoice: { name: "none_such" } });
    await expect(unknown).rejects.toBeInstanceOf(InvalidRequest);
    await expect(unknown).rejects.toThrow("none_such");
  });

  it("are not shown to the model if none is to be called", async () => {
    const [with_, none, without] = await Promise.all([
      ask("caller:tiny", {}),
      ask("caller:tiny", { toolChoice: "none" }),
      ask("caller:tiny", { tools: [] }),
    ]);
    expect(none.promptTokens).toBe(without.promptTokens);
    expect(with_.promptTokens).toBeGreaterThan(none.promptTokens + 50);
    expect(none.toolCalls).toBeUndefined();
    expect(none.text).toContain("<tool_call>");
  });

  it("are called beside a format, or the answer is JSON of it", async () => {
    const format = { type: "object", properties: { done: { const: true } }, required: ["done"] };
    expect(JSON.parse((await ask("json:tiny", { format })).text)).toEqual({ done: true });
    expect(written(await ask("loop:tiny", { format, singleCall: true }))[0]?.name).toBe("turn");
    const called = await ask("endless:tiny", { format, toolChoice: "required", singleCall: true });
    expect(written(called)[0]?.name).toBe("turn");
  });

  it("are called with arguments that were cut, if there is no room for more", async () => {
    const cut = await ask("endless:tiny", { tools: [note], toolChoice: "required", maxTokens: 60 });
    expect(cut.finishReason).toBe("length");
    expect(cut.toolCalls?.[0]?.arguments).toMatch(/^\{"text": "/);
    expect(cut.heard.calls).toEqual(written(cut));
    expect(cut.completionTokens).toBeLessThanOrEqual(60);
    const full = await ask("endless:tiny", { tools: [note], toolChoice: "required", maxTokens: 100_000 });
    expect(full.finishReason).toBe("length");
    expect(full.promptTokens + full.completionTokens).toBeLessThanOrEqual(2_048);
  });

  it.each<[string, Partial<GenerationRequest>]>([
    ["tools", {}],
    ["tools that are not to be called", { toolChoice: "none" }],
    ["a call and its result", { messages: conversation("call_1") }],
    ["a system prompt", { messages: [{ role: "system", content: "You are a lamp." }, ...conversation("call_1")] }],
  ])("are counted exactly: %s", async (_, request) => {
    const counted = await count("caller:tiny", request);
    await subject.engine.residency?.unload("caller:tiny", never);
    expect(await count("caller:tiny", request)).toBe(counted);
    expect((await ask("caller:tiny", request)).promptTokens).toBe(counted);
  });

  it("have their results with the calls that they answer, in their order", async () => {
    const calls = [
      { id: "a", name: "turn", arguments: '{"to": "on"}' },
      { id: "b", name: "turn_all", arguments: "{}" },
    ];
    const inOrder: ChatMessage[] = [
      user,
      { role: "assistant", content: "I will.", toolCalls: calls },
      { role: "tool", content: "first result", toolCallId: "a" },
      { role: "tool", content: "second result", toolCallId: "b" },
    ];
    const tools = [turn, turnAll];
    const [start, said, first, second] = inOrder as [ChatMessage, ChatMessage, ChatMessage, ChatMessage];
    const expected = await count("caller:tiny", { tools, messages: inOrder });
    const { toolCallId: _a, ...unnamed } = first;
    for (const results of [
      [second, first],
      [unnamed, { ...second, toolName: "turn_all" }],
    ])
      expect(await count("caller:tiny", { tools, messages: [start, said, ...results] })).toBe(expected);
    expect(await count("caller:tiny", { tools, messages: [start, said, first] })).toBeLessThan(expected ?? 0);
  });

  it("need not have results, nor results a call, nor a call arguments that are JSON", async () => {
    const odd: readonly (readonly ChatMessage[])[] = [
      [user, { role: "tool", content: "A result of nothing.", toolCallId: "unknown" }],
      [{ role: "tool", content: "A result of nothing." }],
      [user, { role: "assistant", content: "", toolCalls: [{ id: "x", name: "gone", arguments: "{no json" }] }],
      [...conversation("call_1"), { role: "tool", content: "Twice.", toolCallId: "call_1" }],
    ];
    for (const messages of odd) {
      const answer = await ask("caller:tiny", { messages });
      expect(answer.toolCalls?.length).toBeGreaterThan(0);
      expect(answer.promptTokens).toBe(await count("caller:tiny", { messages }));
    }
  });

  it("leave the evaluated prompt in the cache for the next turn", async () => {
    const messages: ChatMessage[] = [{ role: "system", content: "Every lamp counts. ".repeat(20) }, user];
    let known = 0;
    for (let turns = 0; turns < 5; turns += 1) {
      const answer = await ask("caller:tiny", { messages, singleCall: true });
      expect(answer.cachedPromptTokens).toBeGreaterThanOrEqual(known);
      known = answer.promptTokens;
      const { text: content, toolCalls = [] } = answer;
      messages.push({ role: "assistant", content, toolCalls });
      for (const { id } of toolCalls) messages.push({ role: "tool", content: 'It is on: "é" {1}', toolCallId: id });
    }
  });

  it("are cancelled in the middle of arguments, and the next answer is right", async () => {
    const right = await ask("caller:tiny", { singleCall: true });
    for (const cancelAt of [1, 2, 7]) {
      const controller = new AbortController();
      let deltas = 0;
      const cancelled = ask(
        "endless:tiny",
        { tools: [note], toolChoice: "required" },
        { signal: controller.signal, onCall: () => (deltas += 1) === cancelAt && controller.abort() },
      );
      await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
      expect(deltas).toBe(cancelAt);
      const next = await ask("endless:tiny", { tools: [turn], toolChoice: "required", singleCall: true });
      expect(next.heard.phases).not.toContain("loading");
      expect(written(next)).toEqual(written(await ask("endless:tiny", { toolChoice: "required", singleCall: true })));
    }
    expect(written(await ask("caller:tiny", { singleCall: true }))).toEqual(written(right));
  });

  it("are paused in the middle of arguments, and continue with the text that they would have had", async () => {
    const request = { tools: [note], toolChoice: "required", maxTokens: 300 } as const;
    const whole = await ask("endless:tiny", request);
    let isBegun = false;
    const job = ask(
      "endless:tiny",
      { ...request, background: AbortSignal.abort() },
      { onCall: () => (isBegun = true) },
    );
    await until(() => isBegun, 20_000);
    const question = await ask("endless:tiny", { toolChoice: "required", sequences: 2, singleCall: true });
    expect(written(question)[0]?.name).toBe("turn");
    const answer = await job;
    expect(answer.heard.phases).toContain("paused");
    expect(written(answer)).toEqual(written(whole));
  });
});

function conversation(id: string): readonly ChatMessage[] {
  return [
    user,
    { role: "assistant", content: "", toolCalls: [{ id, name: "turn", arguments: '{"to": "on"}' }] },
    { role: "tool", content: 'The lamp is on: "ü"\n{}', toolCallId: id },
  ];
}
