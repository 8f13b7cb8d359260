import { expect } from "vitest";
import type { ToolDefinition } from "../src/orchestrator/api/chat.ts";
import { Cancelled } from "../src/orchestrator/api/errors.ts";
import type { Engine } from "../src/orchestrator/engines/engine.ts";
import type { Generation, GenerationRequest } from "../src/orchestrator/engines/generation.ts";

/** Rules for engines whose models call tools. */
export const toolRules = [
  "a model with tools is described as one",
  "a model that is asked to call a tool calls it",
  "two calls in one answer have ids of their own",
  "a single call is one, whatever the prompt wants",
  "no call comes where none is needed, or none is allowed",
  "a required call comes, whatever the prompt says",
  "a call by name is of that tool",
  "arguments have every type of JSON",
  "the deltas of a call are the call",
  "an answer of a tool reaches the model",
  "a conversation may have calls of tools that are unknown now",
  "thinking comes beside calls",
  "a generation that is cancelled within arguments rejects with Cancelled, and the next one succeeds",
  "the tools and calls that were sent count as prompt",
] as const;

type ToolRule = (typeof toolRules)[number];

/** Models that write calls as text: the pipeline reads those, not the engine. */
export const callsAsText = (model: string | undefined) =>
  (/qwen.*coder/i.test(model ?? "") ? toolRules.slice(1, 4) : []).map((rule) => ({
    rule,
    reason: `${model} writes calls as text unless one is required`,
  }));

interface Heard {
  readonly generation: Generation;
  readonly heard: { readonly text: string; readonly thinking: string; readonly calls: readonly HeardCall[] };
}

export interface HeardCall {
  name: string;
  arguments: string;
  deltas: number;
}

interface ToolContract {
  readonly rule: (name: ToolRule, check: () => Promise<void>, missing?: string) => void;
  readonly ask: (request: Partial<GenerationRequest>, signal?: AbortSignal, onCall?: () => void) => Promise<Heard>;
  readonly engine: () => Engine;
  /** A model with tools; undefined: none is given, and the rules are skipped. */
  readonly model: string | undefined;
  /** One that thinks, too. */
  readonly thinkingModel: string | undefined;
}

const city = { type: "string" } as const;
const weather: ToolDefinition = {
  name: "get_weather",
  description: "Current weather of a city",
  parameters: { type: "object", properties: { city }, required: ["city"], additionalProperties: false },
};
const time: ToolDefinition = {
  name: "get_time",
  description: "Current time in a city",
  parameters: { type: "object", properties: { city }, required: ["city"], additionalProperties: false },
};
const user = (content: string) => ({ role: "user", content }) as const;
const call = (id: string, name: string, json: string) => ({ id, name, arguments: json });

export function describeToolRules({ rule, ask, engine, model, thinkingModel }: ToolContract): void {
  const missing = model === undefined ? "no model with tools was given" : undefined;
  const withTools = (prompt: string, more: Partial<GenerationRequest> = {}): Partial<GenerationRequest> => ({
    model: model ?? "",
    messages: [user(prompt)],
    tools: [weather, time],
    maxTokens: 256,
    ...more,
  });
  const toolRule = (name: ToolRule, check: () => Promise<void>) => rule(name, check, missing);
  const valuesOf = ({ arguments: json }: { readonly arguments: string }) => JSON.parse(json) as Record<string, unknown>;

  toolRule("a model with tools is described as one", async () => {
    const signal = new AbortController().signal;
    expect((await engine().describe(model ?? "", signal)).capabilities).toContain("tools");
    const listed = (await engine().list(signal)).find(({ name }) => name === model);
    // A list may say nothing about it, and nothing that isn't so.
    if (listed?.capabilities !== undefined) expect(listed.capabilities).toContain("tools");
  });

  toolRule("a model that is asked to call a tool calls it", async () => {
    const { generation } = await ask(withTools('Call the tool get_weather with {"city": "Paris"}.'));
    expect(generation.toolCalls).toMatchObject([{ name: "get_weather" }]);
    expect(valuesOf(generation.toolCalls?.[0] ?? call("", "", ""))).toEqual({ city: "Paris" });
    expect(generation.finishReason).toBe("stop");
  });

  toolRule("two calls in one answer have ids of their own", async () => {
    const prompt = 'Call the tools get_weather with {"city": "Rome"} and get_time with {"city": "Oslo"}.';
    const { generation, heard } = await ask(withTools(prompt));
    expect(generation.toolCalls).toMatchObject([{ name: "get_weather" }, { name: "get_time" }]);
    expect(generation.toolCalls?.map((each) => valuesOf(each)["city"])).toEqual(["Rome", "Oslo"]);
    expect(new Set(generation.toolCalls?.map(({ id }) => id)).size).toBe(2);
    expect(heard.calls).toHaveLength(2);
  });

  toolRule("a single call is one, whatever the prompt wants", async () => {
    const prompt = 'Call the tools get_weather with {"city": "Rome"} and get_time with {"city": "Oslo"}.';
    const { generation, heard } = await ask(withTools(prompt, { singleCall: true }));
    expect(generation.toolCalls).toMatchObject([{ name: "get_weather" }]);
    expect(heard.calls).toHaveLength(1);
  });

  toolRule("no call comes where none is needed, or none is allowed", async () => {
    const plain = await ask(withTools("Name three colours.", { maxTokens: 24 }));
    expect(plain.generation.text).not.toBe("");
    expect(plain.generation).not.toHaveProperty("toolCalls");
    const forbidden = await ask(withTools("What does get_weather do?", { toolChoice: "none", maxTokens: 24 }));
    expect(forbidden.generation.text).not.toBe("");
    expect(forbidden.generation).not.toHaveProperty("toolCalls");
  });

  toolRule("a required call comes, whatever the prompt says", async () => {
    const { generation, heard } = await ask(withTools("Name three colours.", { toolChoice: "required" }));
    expect(generation.toolCalls?.length).toBeGreaterThan(0);
    for (const each of generation.toolCalls ?? []) {
      expect(["get_weather", "get_time"]).toContain(each.name);
      expect(Object.keys(valuesOf(each))).toEqual(["city"]);
    }
    expect(heard.calls.length).toBe(generation.toolCalls?.length);
  });

  toolRule("a call by name is of that tool", async () => {
    const { generation } = await ask(withTools("What is the weather in Paris?", { toolChoice: { name: "get_time" } }));
    expect(new Set(generation.toolCalls?.map(({ name }) => name))).toEqual(new Set(["get_time"]));
  });

  toolRule("arguments have every type of JSON", async () => {
    const properties = {
      text: { type: "string" },
      whole: { type: "integer" },
      part: { type: "number" },
      isSet: { type: "boolean" },
      nothing: { type: "null" },
      list: { type: "array", items: { type: "string" }, minItems: 1, maxItems: 2 },
      inner: {
        type: "object",
        properties: { colour: { type: "string", enum: ["red", "green"] } },
        required: ["colour"],
        additionalProperties: false,
      },
    };
    const required = Object.keys(properties);
    const report: ToolDefinition = {
      name: "report",
      parameters: { type: "object", properties, required, additionalProperties: false },
    };
    const given = {
      text: 'a "quoted" \\ line\nand ü 🙂 {',
      whole: 7,
      part: 0.5,
      isSet: false,
      nothing: null,
      list: ["x", "y"],
      inner: { colour: "green" },
    };
    const { generation } = await ask(
      withTools(`Call the tool report with ${JSON.stringify(given)}`, { tools: [report], toolChoice: "required" }),
    );
    const [called] = generation.toolCalls ?? [];
    const values = valuesOf(called ?? call("", "", "null"));
    expect(Object.keys(values).toSorted()).toEqual(required.toSorted());
    expect(typeof values["text"]).toBe("string");
    expect(values["whole"]).toSatisfy(Number.isInteger);
    expect(values["part"]).toSatisfy(Number.isFinite);
    expect(typeof values["isSet"]).toBe("boolean");
    expect(values["nothing"]).toBeNull();
    expect(values["list"]).toSatisfy(Array.isArray);
    expect(["red", "green"]).toContain((values["inner"] as { readonly colour: unknown }).colour);
  });

  toolRule("the deltas of a call are the call", async () => {
    const prompt = 'Call the tool get_weather with {"city": "Llanfairpwllgwyngyll"}.';
    const { generation, heard } = await ask(withTools(prompt, { toolChoice: { name: "get_weather" } }));
    expect(heard.calls.length).toBeGreaterThan(0);
    expect(heard.calls.map(({ name, arguments: json }) => ({ name, arguments: json }))).toEqual(
      generation.toolCalls?.map(({ name, arguments: json }) => ({ name, arguments: json })),
    );
    expect(heard.text).toBe(generation.text);
  });

  toolRule("an answer of a tool reaches the model", async () => {
    const asked = [
      user("What is the weather in Paris?"),
      { role: "assistant", content: "", toolCalls: [call("call_1", "get_weather", '{"city":"Paris"}')] },
    ] as const;
    const answer = (content: string) =>
      ({ role: "tool", content, toolCallId: "call_1", toolName: "get_weather" }) as const;
    const short = await ask(withTools("", { messages: [...asked, answer("18 degrees")], maxTokens: 16 }));
    const long = await ask(
      withTools("", { messages: [...asked, answer("It is sunny, with 18 degrees. ".repeat(12))], maxTokens: 16 }),
    );
    expect(short.generation.completionTokens).toBeGreaterThan(0);
    expect(long.generation.promptTokens).toBeGreaterThan(short.generation.promptTokens + 50);
  });

  toolRule("a conversation may have calls of tools that are unknown now", async () => {
    const { generation } = await ask(
      withTools("", {
        messages: [
          user("Delete the file."),
          {
            role: "assistant",
            content: "I delete it.",
            toolCalls: [call("old_1", "delete_file", '{"path":"a.txt"}'), call("old_2", "list_files", "")],
          },
          { role: "tool", content: "deleted", toolCallId: "old_1", toolName: "delete_file" },
          { role: "tool", content: "nothing", toolCallId: "old_2" },
          user("Thank you. Name three colours."),
        ],
        maxTokens: 16,
      }),
    );
    expect(generation.toolCalls ?? generation.text).not.toBe("");
  });

  rule(
    "thinking comes beside calls",
    async () => {
      const prompt = 'Call the tool get_weather with {"city": "Paris"}.';
      const { generation, heard } = await ask(withTools(prompt, { model: thinkingModel ?? "", think: true }));
      expect(generation.thinking).not.toBe("");
      expect(heard.thinking).toBe(generation.thinking);
      expect(generation.toolCalls).toMatchObject([{ name: "get_weather" }]);
    },
    missing ?? (thinkingModel === undefined ? "no model with tools and thinking was given" : undefined),
  );

  toolRule(
    "a generation that is cancelled within arguments rejects with Cancelled, and the next one succeeds",
    async () => {
      const controller = new AbortController();
      let heard = 0;
      const cancelled = ask(
        withTools("Call the tool get_weather with a very long name of a city.", { toolChoice: "required" }),
        controller.signal,
        () => {
          heard += 1;
          controller.abort();
        },
      );
      await expect(cancelled).rejects.toBeInstanceOf(Cancelled);
      expect(heard).toBe(1);
      const { generation } = await ask(withTools("Name three colours.", { toolChoice: "required" }));
      expect(generation.toolCalls?.length).toBeGreaterThan(0);
    },
  );

  toolRule("the tools and calls that were sent count as prompt", async () => {
    const without = await ask(withTools("Name three colours.", { tools: [], maxTokens: 4 }));
    const withMany = await ask(withTools("Name three colours.", { maxTokens: 4 }));
    expect(withMany.generation.promptTokens).toBeGreaterThan(without.generation.promptTokens);
    expect(withMany.generation).not.toHaveProperty("estimatedUsage");
  });
}
