import { describe, expect, it } from "vitest";
import { EngineUnreachable, UnknownModel } from "../../../../src/orchestrator/api/errors.ts";
import { chatRequest, createRecorder, never, rejection } from "../ollama/fixture.ts";
import { startPair } from "./fixture.ts";

const seeing = { id: "Qwen/Qwen2.5-VL-7B-Instruct", contextTokens: 8_192, input: ["text", "image"] };

describe("the list of models", () => {
  it.each([
    ["llama-server", { contextTokens: 8_192, sizeBytes: 96_576_768, quantization: "Q4_1" }, ["completion", "vision"]],
    ["vllm", { contextTokens: 8_192, sizeBytes: 0, parameterSize: "7B" }, undefined],
    ["kimi", { contextTokens: 8_192, sizeBytes: 0 }, ["completion", "vision"]],
    ["lm-studio", { contextTokens: 8_192, quantization: "Q4_1", family: "llama" }, ["completion", "vision"]],
    ["cloud", { sizeBytes: 0, parameterSize: "7B" }, undefined],
  ] as const)("of %s has what the server tells", async (dialect, facts, capabilities) => {
    const { engine } = await startPair({ dialect, models: [seeing] });
    const [model] = await engine.list(never);
    expect(model).toMatchObject({ name: seeing.id, trust: "local", ...facts });
    expect(model?.capabilities).toEqual(capabilities);
    expect(await engine.describe(seeing.id, never)).toMatchObject({
      name: seeing.id,
      capabilities: capabilities ?? [],
    });
  });

  it("has no speech, image and moderation models of a cloud, and knows embedding models by name", async () => {
    const ids = ["gpt-5", "whisper-1", "dall-e-3", "omni-moderation-latest", "text-embedding-3-small"];
    const { engine } = await startPair({ dialect: "cloud", models: ids.map((id) => ({ id })) });
    const list = await engine.list(never);
    expect(list.map(({ name }) => name)).toEqual(["gpt-5", "text-embedding-3-small"]);
    expect(list[1]?.capabilities).toEqual(["embedding"]);
  });

  it("is restricted to the configured models and completed by them", async () => {
    const models = [
      { name: "b", contextTokens: 1_000, capabilities: ["completion", "thinking"] },
      { name: "gone" },
    ] as const;
    const { engine } = await startPair({ dialect: "cloud", models: [{ id: "a" }, { id: "b" }] }, { models });
    expect(await engine.list(never)).toEqual([
      { name: "b", sizeBytes: 0, trust: "local", contextTokens: 1_000, capabilities: ["completion", "thinking"] },
    ]);
  });

  it("is that of the settings where the server has none", async () => {
    const { fake, engine } = await startPair({ dialect: "cloud" }, { models: [{ name: "smollm2" }] });
    fake.misbehave({ kind: "status", on: "/v1/models", status: 404, body: "not here", times: Infinity });
    expect((await engine.list(never)).map(({ name }) => name)).toEqual(["smollm2"]);
    expect((await engine.health(never)).isReachable).toBe(true);
    const { text } = await engine.generate(chatRequest({ model: "smollm2" }), createRecorder(), never);
    expect(text).not.toBe("");
  });

  it("that is missing is an error that says what to do, without configured models", async () => {
    const { fake, engine } = await startPair({ dialect: "cloud" });
    fake.misbehave({ kind: "status", on: "/v1/models", status: 200, body: { models: [] }, times: Infinity });
    const error = await rejection(engine.list(never));
    expect(error).toBeInstanceOf(EngineUnreachable);
    expect(error.next).toEqual([{ step: "advice", text: expect.stringContaining("providers.openai") as string }]);
  });

  it("has what a server's additional paths tell once they answer, and does without pages there", async () => {
    const { fake, engine } = await startPair();
    const body = { chat_template: "{% if enable_thinking %}<think>{% endif %}" };
    fake.misbehave({ kind: "status", on: "/props", status: 500, body: "busy" });
    fake.misbehave({ kind: "status", on: "/props", status: 200, body });
    expect((await engine.list(never))[0]?.capabilities).toEqual(["completion"]);
    expect((await engine.list(never))[0]?.capabilities).toContain("thinking");
    const plain = await startPair({ dialect: "cloud" });
    for (const status of [500, 200]) {
      plain.fake.misbehave({ kind: "status", on: "/api/v0/models", status, body: "<html>" });
      expect(await plain.engine.list(never)).toHaveLength(1);
    }
  });

  it("is asked under /v1, with or without it in the settings, and below other paths as they are", async () => {
    for (const [basePath, written] of [
      ["/v1", ""],
      ["/v1", "/v1/"],
      ["/openai/v1", "/openai"],
      ["/v1beta/openai", "/v1beta/openai"],
    ] as const) {
      const { fake, engine } = await startPair({ dialect: "cloud", basePath }, { serverKind: "cloud" }, written);
      expect(await engine.list(never)).toHaveLength(1);
      expect(fake.requests.map(({ path }) => path)).toEqual(["/v1/models"]);
    }
  });
});

describe("a model", () => {
  it("that was removed meanwhile is unknown, and looked up again afterwards", async () => {
    const { fake, engine } = await startPair({ dialect: "cloud", models: [{ id: "a" }, { id: "b" }] });
    await engine.list(never);
    fake.models.delete("a");
    const ask = () => engine.generate(chatRequest({ model: "a" }), createRecorder(), never);
    expect(await rejection(ask())).toBeInstanceOf(UnknownModel);
    fake.models.set("a", { id: "a" });
    expect((await ask()).text).not.toBe("");
  });

  it("that llama-server no longer has is unknown, although it answers with another one", async () => {
    const { fake, engine } = await startPair({ models: [{ id: "old" }] });
    await engine.list(never);
    fake.models.clear();
    fake.models.set("new", { id: "new" });
    const sink = createRecorder();
    const error = await rejection(engine.generate(chatRequest({ model: "old" }), sink, never));
    expect(error).toBeInstanceOf(UnknownModel);
    expect(error.message).toContain("new in place of old");
    expect(sink.heard.text).toEqual([]);
  });
});

describe("the server's status", () => {
  it("has the answers that llama-server computes at once; other servers don't tell", async () => {
    for (const [dialect, parallel, expected] of [
      ["llama-server", 6, 6],
      ["vllm", 6, 4],
    ] as const) {
      const { engine } = await startPair({ dialect, parallel });
      expect(engine.parallelAnswers).toBe(4);
      await engine.list(never);
      expect(engine.parallelAnswers).toBe(expected);
    }
  });

  it("has the version of llama-server and vLLM, and of no cloud", async () => {
    for (const [dialect, version] of [
      ["llama-server", "b11434-fake"],
      ["vllm", "0.11.0"],
    ] as const)
      expect((await (await startPair({ dialect })).engine.health(never)).version).toBe(version);
    const cloud = await startPair({ dialect: "cloud" }, { serverKind: "cloud" });
    expect((await cloud.engine.health(never)).version).toBeUndefined();
    expect(cloud.fake.requests.map(({ path }) => path)).toEqual(["/v1/models"]);
  });

  it("is unreachable where a router says that it is healthy, and its list fails", async () => {
    const { fake, engine } = await startPair({ dialect: "vllm" });
    fake.misbehave({ kind: "status", on: "/v1/models", status: 500, body: "Request failed: error sending request" });
    const health = await engine.health(never);
    expect(health).toMatchObject({ isReachable: false, message: expect.stringContaining("Request failed") as string });
  });

  it.each(["llama-server", "vllm"] as const)("has the load of %s, asked once a second", async (dialect) => {
    let now = 0;
    const { fake, engine } = await startPair({ dialect, parallel: 1 }, { now: () => now });
    let end = (): void => undefined;
    fake.misbehave({ kind: "hang", afterTokens: 1, until: new Promise<void>((resolve) => (end = resolve)) });
    const sink = createRecorder();
    const heard = new Promise<void>((resolve) => (sink.text = () => resolve()));
    const running = engine.generate(chatRequest({ model: "smollm2" }), sink, never);
    await heard;
    const first = engine.currentLoad?.(never);
    expect(await first).toEqual({ running: 1, waiting: 0 });
    expect(await engine.currentLoad?.(never)).toBe(await first);
    end();
    await running;
    now = 1_500;
    expect(await engine.currentLoad?.(never)).toEqual({ running: 0, waiting: 0 });
    expect(fake.requests.filter(({ path }) => path === "/metrics")).toHaveLength(2);
  });

  it("has no load where the server tells none, and is not asked again for a minute", async () => {
    let now = 0;
    const { fake, engine } = await startPair({ dialect: "lm-studio" }, { now: () => now });
    for (now of [0, 2_000, 59_000]) expect(await engine.currentLoad?.(never)).toBeUndefined();
    expect(fake.requests.filter(({ path }) => path === "/metrics")).toHaveLength(1);
    const cloud = await startPair({ dialect: "cloud" }, { serverKind: "cloud" });
    expect(cloud.engine.currentLoad).toBeUndefined();
  });
});
