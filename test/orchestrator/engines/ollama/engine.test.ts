import { describe, expect, it, onTestFinished } from "vitest";
import {
  Cancelled,
  EngineUnreachable,
  GenerationFailed,
  InvalidConfig,
  PromptTooLong,
  UnknownModel,
  UnsupportedCapability,
} from "../../../../src/orchestrator/api/errors.ts";
import { createOllamaEngine } from "../../../../src/orchestrator/engines/ollama/index.ts";
import { sampleModels, startFakeOllama } from "../../../support/fake-ollama.ts";
import { chatRequest, createRecorder, engineAt, never, rejection, startPair } from "./fixture.ts";

describe("trust and memory of an Ollama server", () => {
  it("a loopback server is local and shares this machine's memory, all others are remote with their own", () => {
    expect(engineAt("127.0.0.1:11434")).toMatchObject({
      id: "ollama",
      kind: "ollama",
      trust: "local",
      memoryDomain: "local",
    });
    expect(engineAt("192.168.1.20")).toMatchObject({ trust: "remote", memoryDomain: "192.168.1.20:11434" });
  });

  it("an invalid address is rejected when the engine is created", () => {
    const log = { debug() {}, info() {}, warn() {} };
    expect(() => createOllamaEngine({ host: "ftp://x", now: () => 0, log })).toThrow(InvalidConfig);
  });

  it("cloud models are remote and take no local memory, on every server", async () => {
    const { engine } = await startPair({ models: sampleModels });
    const models = await engine.list(never);
    expect(models.map(({ name, trust }) => [name, trust])).toEqual([
      ["smollm2:135m", "local"],
      ["qwen3:0.6b", "local"],
      ["gemma3:4b", "local"],
      ["all-minilm:latest", "local"],
      ["gpt-oss:120b-cloud", "remote"],
    ]);
    expect(models.at(-1)?.sizeBytes).toBe(0);
  });

  it("describing a cloud model only requests the list", async () => {
    const { fake, engine } = await startPair({ models: sampleModels });
    expect(await engine.describe("gpt-oss:120b-cloud", never)).toMatchObject({ trust: "remote", sizeBytes: 0 });
    expect(await rejection(engine.describe("kimi-k2:cloud", never))).toBeInstanceOf(UnknownModel);
    expect(fake.requests.map(({ path }) => path)).toEqual(["/api/tags", "/api/tags"]);
  });

  it("a prompt for a cloud model that isn't installed is not sent", async () => {
    const { fake, engine } = await startPair({ models: sampleModels });
    const unlisted = engine.generate(chatRequest({ model: "kimi-k2:cloud" }), createRecorder(), never);
    expect(await rejection(unlisted)).toBeInstanceOf(UnknownModel);
    expect(fake.requests.map(({ path }) => path)).toEqual(["/api/tags"]);
    await engine.generate(chatRequest({ model: "gpt-oss:120b-cloud" }), createRecorder(), never);
    expect(fake.requests.at(-1)?.path).toBe("/api/chat");
  });
});

describe("facts about a model from Ollama", () => {
  it("lists the models of /api/tags, which reads no templates: completion alone says nothing of tools", async () => {
    const { engine } = await startPair();
    expect(await engine.list(never)).toEqual([
      {
        name: "smollm2:135m",
        digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
        sizeBytes: 98_362_745,
        modifiedAt: "2026-11-21T08:05:03.056328523Z",
        family: "llama",
        parameterSize: "134.52M",
        quantization: "Q4_1",
        contextTokens: 8_192,
        trust: "local",
      },
    ]);
  });

  it("describes a model by /api/show: facts, vocabulary, parameters, metadata without nulls and long arrays", async () => {
    const parameters =
      'stop                           "<|im_start|>"\nstop                           "<|im_end|>"\ntemperature                    0.7';
    const metadata = {
      "tokenizer.ggml.tokens": Array.from({ length: 2_000 }, () => "x"),
      "gemma3.attention.sliding_window_pattern": [1, 2],
    };
    const { engine } = await startPair({
      models: [
        {
          name: "gemma3:4b",
          architecture: "gemma3",
          system: "Be brief.",
          parameters,
          metadata,
          vocabularySize: 262_144,
          capabilities: ["completion", "vision", "brand-new"],
        },
      ],
    });
    const facts = await engine.describe("gemma3:4b", never);
    expect(facts).toMatchObject({
      architecture: "gemma3",
      layerCount: 30,
      embeddingLength: 576,
      vocabularySize: 262_144,
      capabilities: ["completion", "vision"],
      system: "Be brief.",
      parameters: { stop: ["<|im_start|>", "<|im_end|>"], temperature: 0.7 },
    });
    expect(facts.metadata).toHaveProperty(["gemma3.attention.head_count_kv"], 3);
    expect(facts.metadata).toHaveProperty(["gemma3.attention.sliding_window_pattern"], [1, 2]);
    expect(facts.metadata).not.toHaveProperty(["tokenizer.ggml.tokens"]);
    expect(facts.metadata).not.toHaveProperty(["general.languages"]);
  });

  it("one list serves the descriptions of all models, and a model that it lacks is looked up again", async () => {
    const names = Array.from({ length: 20 }, (_unused, index) => `house:v${index}`);
    const { fake, engine } = await startPair({ models: names.map((name) => ({ name })) });
    const lists = () => fake.requests.filter(({ path }) => path === "/api/tags").length;
    const describeAll = () => Promise.all(names.map((name) => engine.describe(name, new AbortController().signal)));
    await describeAll();
    expect(lists()).toBe(1);
    await describeAll();
    expect(lists()).toBe(1);
    fake.models.set("house:v20", { name: "house:v20", sizeBytes: 7 });
    expect(await engine.describe("house:v20", never)).toMatchObject({ sizeBytes: 7 });
    expect(lists()).toBe(2);
  });

  it("a list that a caller leaves still serves the other descriptions", async () => {
    const { engine } = await startPair({ models: [{ name: "a:1b" }, { name: "b:1b", sizeBytes: 7 }] });
    const left = new AbortController();
    const both = [rejection(engine.describe("a:1b", left.signal)), engine.describe("b:1b", never)] as const;
    left.abort();
    expect(await both[0]).toBeInstanceOf(Cancelled);
    expect(await both[1]).toMatchObject({ sizeBytes: 7 });
  });

  it("a name without a tag means :latest and is returned as given", async () => {
    const { engine } = await startPair({ models: [{ name: "tiny:latest", sizeBytes: 7 }] });
    expect(await engine.describe("Tiny", never)).toMatchObject({ name: "Tiny", sizeBytes: 7 });
  });
});

describe("the health of an Ollama server", () => {
  it("has a timeout when the server hangs", async () => {
    const { fake, engine } = await startPair({}, { healthMs: 150 });
    fake.misbehave({ kind: "hang", on: "/api/version" });
    const health = await engine.health(never);
    expect(health.isReachable).toBe(false);
    expect(health.message).toContain("sent nothing for 0.15 s");
  });

  it("reports the address when no server answers", async () => {
    const fake = await startFakeOllama();
    await fake.close();
    const health = await engineAt(fake.url).health(never);
    expect(health.isReachable).toBe(false);
    expect(health.message).toMatch(/does not answer at .*ECONNREFUSED/);
  });

  it("reports another program at that address as unreachable", async () => {
    const { fake, engine } = await startPair();
    fake.misbehave({ kind: "garbage", on: "/api/version" });
    expect(await engine.health(never)).toMatchObject({ isReachable: false });
  });
});

describe("control calls", () => {
  it("a list from a server that hangs ends with its timeout", async () => {
    const { fake, engine } = await startPair({}, { controlMs: 100 });
    fake.misbehave({ kind: "hang", on: "/api/tags" });
    expect(await rejection(engine.list(never))).toBeInstanceOf(EngineUnreachable);
  });

  it.each(["cut", "garbage"] as const)("a list that is %s is an error, not an empty list", async (kind) => {
    const { fake, engine } = await startPair();
    fake.misbehave({ kind, on: "/api/tags" });
    expect(await rejection(engine.list(never))).toBeInstanceOf(kind === "cut" ? EngineUnreachable : GenerationFailed);
  });

  it("share ten connections, separate from those of generations", async () => {
    const { fake, engine } = await startPair({ tokensPerSecond: 200 });
    fake.misbehave({ kind: "slow", on: "/api/tags", times: 25, delayMs: 100 });
    const answering = engine.generate(chatRequest(), createRecorder(), never);
    const lists = Array.from({ length: 25 }, () => engine.list(new AbortController().signal));
    for (let seen = 0; seen < 10; seen = fake.requests.filter(({ path }) => path === "/api/tags").length)
      await engine.health(never).catch(() => {});
    expect(engine.connections().control).toMatchObject({ limit: 10, open: 10 });
    expect(engine.connections().generation.open).toBe(1);
    await Promise.all([...lists, answering]);
    expect(engine.connections().control).toMatchObject({ running: 0, queued: 0 });
    const { requests, opened } = engine.connections();
    expect(requests).toBe(fake.requests.length);
    expect(opened).toBe(11);
    expect(engine.connections().most).toBeGreaterThanOrEqual(25);
  });

  it("share as many as the settings say now, and lose none when that changes", async () => {
    const fake = await startFakeOllama();
    onTestFinished(() => fake.close());
    let pool = { connections: 2, keepAliveMs: 30_000 };
    const engine = engineAt(fake.url, {}, { pool: () => pool });
    let goOn = (): void => undefined;
    fake.misbehave({
      kind: "hang",
      on: "/api/tags",
      times: 2,
      until: new Promise<void>((resolve) => (goOn = resolve)),
    });
    const lists = Array.from({ length: 5 }, () => engine.list(never));
    await expect.poll(() => engine.connections().control).toMatchObject({ open: 2, limit: 2, running: 2, queued: 3 });
    pool = { connections: 3, keepAliveMs: 30_000 };
    expect((await engine.health(never)).isReachable).toBe(true);
    expect(engine.connections().control).toMatchObject({ open: 1, limit: 3 });
    goOn();
    for (const list of await Promise.all(lists)) expect(list).toHaveLength(1);
    expect(engine.connections()).toMatchObject({ requests: fake.requests.length, opened: 3 });
  });

  it("close a connection that was idle for as long as the settings say", async () => {
    const fake = await startFakeOllama();
    onTestFinished(() => fake.close());
    const engine = engineAt(fake.url, {}, { pool: () => ({ connections: 10, keepAliveMs: 20 }) });
    await engine.health(never);
    await expect.poll(() => engine.connections().control.open).toBe(0);
    await engine.health(never);
    expect(engine.connections()).toMatchObject({ requests: 2, opened: 2 });
  });
});

describe("embeddings from Ollama", () => {
  const models = [{ name: "all-minilm:latest", capabilities: ["embedding"], contextTokens: 512 }];

  it("keep the context of a loaded model, which would otherwise be reloaded", async () => {
    const { fake, engine } = await startPair({ models });
    await engine.residency?.load("all-minilm", { contextTokens: 256 }, () => {}, never);
    await engine.embedding?.embed("all-minilm", ["a"], never);
    expect(fake.requests.at(-1)?.body).toMatchObject({ truncate: false, options: { num_ctx: 256 } });
  });

  it("are one request for a model that the caller holds in memory, with its context", async () => {
    const { fake, engine } = await startPair({ models });
    await engine.residency?.load("all-minilm", { contextTokens: 256 }, () => {}, never);
    const before = fake.requests.length;
    await engine.embedding?.embed("all-minilm", ["a"], never, 256);
    expect(fake.requests.slice(before).map(({ path }) => path)).toEqual(["/api/embed"]);
    expect(fake.requests.at(-1)?.body).toMatchObject({ options: { num_ctx: 256 } });
    expect(fake.loads).toHaveLength(1);
  });

  it("throw PromptTooLong for a text that is too long, instead of truncating it", async () => {
    const { engine } = await startPair({ models });
    const error = await rejection(
      engine.embedding?.embed("all-minilm", ["short", "word ".repeat(600)], never) ?? Promise.resolve(),
    );
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error).toMatchObject({ promptTokens: 750, contextTokens: 512 });
  });

  it("throw UnsupportedCapability for a model without them, which stays loaded", async () => {
    const { fake, engine } = await startPair();
    await engine.generate(chatRequest(), createRecorder(), never);
    const error = await rejection(engine.embedding?.embed("smollm2:135m", ["a"], never) ?? Promise.resolve());
    expect(error).toBeInstanceOf(UnsupportedCapability);
    expect(fake.loads).toHaveLength(1);
  });

  it("send no request without texts", async () => {
    const { fake, engine } = await startPair();
    expect(await engine.embedding?.embed("smollm2:135m", [], never)).toEqual({ vectors: [], promptTokens: 0 });
    expect(fake.requests).toEqual([]);
  });
});
