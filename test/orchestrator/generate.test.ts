import { describe, expect, it } from "vitest";
import {
  Cancelled,
  EngineUnreachable,
  GenerationFailed,
  InvalidRequest,
  LoadFailed,
  ModelDoesNotFit,
  OrchestratorError,
  PrivacyLocked,
  PromptTooLong,
  UnknownModel,
} from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

async function failureOf(work: Promise<unknown>): Promise<OrchestratorError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OrchestratorError);
  return error as OrchestratorError;
}

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const coder = fakeModel("qwen2.5-coder:7b", 5 * gigabyte);
const large = fakeModel("qwen2.5:14b", 9 * gigabyte);

describe("generate", () => {
  it("loads the model within the same call, and only once", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    const first = await generate({ prompt: "hello" });
    const second = await generate({ prompt: "hello again" });
    expect(engine.calls).toEqual(["load llama3.2:3b 4096", "generate llama3.2:3b", "generate llama3.2:3b"]);
    expect(first).toMatchObject({
      text: "llama3.2:3b says hello",
      model: "llama3.2:3b",
      engine: "ollama",
      finishReason: "stop",
    });
    expect(second.reason).toContain("loaded");
    expect(second.timing.loadMs).toBe(0);
  });

  it("suggests a model to pull if none is installed", async () => {
    const error = await failureOf(
      createTestOrchestrator([createFakeEngine("ollama", [])], { memoryBytes: 8 * gigabyte }).generate({}),
    );
    expect(error).toBeInstanceOf(UnknownModel);
    expect(error.message).toBe("no model is installed");
    expect(error.next).toEqual([
      { step: "pullModel", model: "qwen3:4b-instruct", because: expect.stringContaining("GB download") as string },
    ]);
  });

  it("reports an unreachable engine if no model is installed", async () => {
    const engine = createFakeEngine("ollama", []);
    engine.down = new EngineUnreachable("Ollama does not answer at http://127.0.0.1:1");
    const error = await failureOf(createTestOrchestrator([engine]).generate({}));
    expect(error.message).toBe("no model is installed; Ollama does not answer at http://127.0.0.1:1");
  });

  it("discards the text of a failed model", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.answer = (request, sink) => {
      sink.text(`${request.model} begins. `);
      return request.model === coder.name
        ? Promise.reject(new GenerationFailed("cut"))
        : Promise.resolve({ text: "Done." });
    };
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const operation = await orchestrator.generate(caller(), { prompt: "hello", task: "code" });
    await operation.follow(caller().signal);
    expect(operation.partial()?.text).toBe(`${small.name} begins. Done.`);
  });

  it("rejects an unknown model with the nearest names, without a load", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const error = await failureOf(createTestOrchestrator([engine]).generate({ model: "lama3.2:3b" }));
    expect(error).toBeInstanceOf(UnknownModel);
    expect(error.next[0]).toEqual({ step: "didYouMean", names: ["llama3.2:3b"] });
    expect(engine.calls).toEqual([]);
  });

  it("uses a model that another program loaded with a smaller but sufficient context", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.resident.set(small.name, {
      name: small.name,
      sizeBytes: small.sizeBytes,
      vramBytes: 0,
      contextTokens: 2048,
    });
    let contextTokens = 0;
    engine.answer = (request) => {
      contextTokens = request.contextTokens;
      return Promise.resolve({});
    };
    await createTestOrchestrator([engine]).generate({});
    expect(engine.calls).toEqual(["generate llama3.2:3b"]);
    expect(contextTokens).toBe(2048);
  });

  it("finds a model pulled by another program despite cached lists", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    await generate({});
    engine.models.push(large);
    expect((await generate({ model: large.name })).model).toBe(large.name);
  });

  it("unloads an idle model to make room", async () => {
    const engine = createFakeEngine("ollama", [coder, large]);
    const { generate } = createTestOrchestrator([engine], { memoryBytes: 14 * gigabyte });
    await generate({ model: coder.name });
    await generate({ model: large.name });
    expect(engine.calls).toEqual([
      "load qwen2.5-coder:7b 4096",
      "generate qwen2.5-coder:7b",
      "unload qwen2.5-coder:7b",
      "load qwen2.5:14b 4096",
      "generate qwen2.5:14b",
    ]);
  });

  it("waits for a model that is answering instead of unloading it", async () => {
    const engine = createFakeEngine("ollama", [coder, large]);
    const { generate } = createTestOrchestrator([engine], { memoryBytes: 14 * gigabyte });
    const gate = createGate();
    engine.answer = async (request, _sink, signal) => {
      if (request.model === coder.name) await gate.pass(signal);
      return {};
    };
    const first = generate({ model: coder.name });
    await gate.entered;
    const second = generate({ model: large.name });
    // Long enough for a plan that doesn't wait to unload the busy model.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(engine.calls).not.toContain(`unload ${coder.name}`);
    gate.open();
    await Promise.all([first, second]);
    expect(engine.calls.slice(-3)).toEqual([
      `unload ${coder.name}`,
      `load ${large.name} 4096`,
      `generate ${large.name}`,
    ]);
  });

  it("reports progress while it waits for its turn", async () => {
    const engine = createFakeEngine("llama-cpp", [small], { kind: "llama-cpp" });
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    const gate = createGate();
    engine.answer = async (_request, _sink, signal) => {
      await gate.pass(signal);
      return {};
    };
    const first = generate({});
    await gate.entered;
    const second = await orchestrator.generate(caller(), { prompt: "hello" });
    const messages: string[] = [];
    const answered = second.follow(caller().signal, ({ message }) => void messages.push(message));
    await expect
      .poll(() => messages)
      .toEqual([expect.stringContaining(`waiting for ${small.name}, which is answering other requests`)]);
    gate.open();
    await Promise.all([first, answered]);
  });

  it("shares a load between two requests", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const gate = createGate();
    engine.beforeLoad = (_model, _options, signal) => gate.pass(signal);
    const { generate } = createTestOrchestrator([engine]);
    const both = Promise.all([generate({}), generate({})]);
    await gate.entered;
    gate.open();
    await both;
    expect(engine.calls.filter((call) => call.startsWith("load"))).toHaveLength(1);
  });

  it("continues a shared load after one of its calls is cancelled", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const gate = createGate();
    engine.beforeLoad = (_model, _options, signal) => gate.pass(signal);
    const { generate, caller } = createTestOrchestrator([engine]);
    const call = new AbortController();
    const cancelled = failureOf(generate({}, caller({ signal: call.signal })));
    await gate.entered;
    const other = generate({});
    await new Promise((resolve) => setImmediate(resolve));
    call.abort("cancelled");
    expect(await cancelled).toBeInstanceOf(Cancelled);
    gate.open();
    expect((await other).model).toBe(small.name);
  });

  it("aborts the request to the engine when the call is cancelled", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const gate = createGate();
    let wasAborted = false;
    engine.answer = async (_request, _sink, signal) => {
      signal.addEventListener("abort", () => (wasAborted = true));
      await gate.pass(signal);
      return {};
    };
    const { generate, caller } = createTestOrchestrator([engine]);
    const call = new AbortController();
    const failed = failureOf(generate({}, caller({ signal: call.signal })));
    await gate.entered;
    call.abort("cancelled");
    expect(await failed).toBeInstanceOf(Cancelled);
    expect(wasAborted).toBe(true);
  });

  it("falls back to the next model if one can't be loaded, and reports it", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.beforeLoad = (model) =>
      model === coder.name ? Promise.reject(new LoadFailed("the file is damaged")) : Promise.resolve();
    const harness = createTestOrchestrator([engine]);
    const result = await harness.generate({ task: "code" });
    expect(result.model).toBe(small.name);
    expect(result.reason).toContain(`after ${coder.name} failed`);
    expect(result.route.attempts).toEqual([
      { model: coder.name, engine: "ollama", outcome: "the file is damaged" },
      { model: small.name, engine: "ollama", outcome: "answered" },
    ]);
    const { models } = await harness.orchestrator.listModels(harness.caller(), {});
    expect(models.find((model) => model.name === coder.name)?.status).toBe("error");
  });

  it("doesn't replace a named model by another one", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.beforeLoad = (model) =>
      model === coder.name ? Promise.reject(new LoadFailed("the file is damaged")) : Promise.resolve();
    const error = await failureOf(createTestOrchestrator([engine]).generate({ model: coder.name }));
    expect(error).toBeInstanceOf(LoadFailed);
    expect(engine.calls).not.toContain(`generate ${small.name}`);
  });

  it("tries a named model even right after a failure", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    engine.answer = () => Promise.reject(new EngineUnreachable("ollama does not answer"));
    await failureOf(generate({ model: small.name }));
    await failureOf(generate({}));
    engine.answer = () => Promise.resolve({});
    expect((await generate({ model: small.name })).model).toBe(small.name);
  });

  it("uses the other engine that holds a named model if the first one is unreachable", async () => {
    const first = createFakeEngine("ollama", [small]);
    const second = createFakeEngine("llama-cpp", [small], { kind: "llama-cpp" });
    first.beforeLoad = () => Promise.reject(new EngineUnreachable("ollama does not answer"));
    const result = await createTestOrchestrator([first, second]).generate({ model: small.name });
    expect(result.engine).toBe("llama-cpp");
  });

  it("reports the needed and free memory if the model doesn't fit", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { generate } = createTestOrchestrator([engine], { memoryBytes: 8 * gigabyte });
    const error = await failureOf(generate({ model: large.name }));
    expect(error).toBeInstanceOf(ModelDoesNotFit);
    expect(error.message).toContain("qwen2.5:14b needs 11.0 GB at 4096 tokens of context; 8.0 GB are free");
    expect(error.next).toContainEqual({ step: "useModel", model: "llama3.2:3b", because: "2.0 GB, fits" });
    expect(engine.calls).toEqual([]);
  });

  it("rejects cloud models under local_only, however they are named", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [cloud]);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    expect(await failureOf(generate({ model: cloud.name }))).toBeInstanceOf(PrivacyLocked);
    expect(await failureOf(generate({ model: cloud.name, privacy: "allow_remote" }))).toBeInstanceOf(PrivacyLocked);
    expect(await failureOf(generate({}))).toBeInstanceOf(PrivacyLocked);
    expect(engine.calls).toEqual([]);
    expect((await orchestrator.systemStatus(caller())).remoteRequests).toBe(0);
  });

  it("never falls back to another machine under local_only", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [small, cloud]);
    engine.beforeLoad = () => Promise.reject(new LoadFailed("out of memory"));
    expect(await failureOf(createTestOrchestrator([engine]).generate({}))).toBeInstanceOf(LoadFailed);
    expect(engine.calls).toEqual(["load llama3.2:3b 4096"]);
  });

  it("uses a cloud model under allow_remote, without a load, and counts the request", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [cloud]);
    const harness = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" } });
    expect((await harness.generate({})).model).toBe(cloud.name);
    expect(engine.calls).toEqual(["generate kimi-k2:cloud"]);
    expect((await harness.orchestrator.systemStatus(harness.caller())).remoteRequests).toBe(1);
    expect(await failureOf(harness.generate({ privacy: "local_only" }))).toBeInstanceOf(PrivacyLocked);
  });

  it("reloads with more context if the engine counts more tokens than estimated", async () => {
    const engine = createFakeEngine("ollama", [small]);
    engine.answer = (request) =>
      request.contextTokens < 10_000
        ? Promise.reject(new PromptTooLong("too long", { promptTokens: 9000, contextTokens: request.contextTokens }))
        : Promise.resolve({});
    await createTestOrchestrator([engine]).generate({});
    expect(engine.calls).toEqual([
      "load llama3.2:3b 4096",
      "generate llama3.2:3b",
      "unload llama3.2:3b",
      "load llama3.2:3b 16384",
      "generate llama3.2:3b",
    ]);
  });

  it("rejects a prompt beyond the model's window with both numbers, counted by the engine", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte, { contextTokens: 8192 })]);
    engine.answer = (request) =>
      Promise.reject(new PromptTooLong("too long", { promptTokens: 9000, contextTokens: request.contextTokens }));
    const error = await failureOf(createTestOrchestrator([engine]).generate({ model: "llama3.2:3b" }));
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error.message).toBe("the prompt has 9000 tokens; the window of llama3.2:3b has 8192");
    expect(engine.calls.at(-1)).toBe("generate llama3.2:3b");
  });

  it("rejects a prompt far beyond the window without a load", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte, { contextTokens: 2048 })]);
    const error = await failureOf(
      createTestOrchestrator([engine]).generate({ model: "llama3.2:3b", prompt: "word ".repeat(50_000) }),
    );
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(engine.calls).toEqual([]);
  });

  it("lowers max_tokens to the limit of the model, with a note", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte, { contextTokens: 4096 })]);
    let maxTokens = 0;
    engine.answer = (request) => {
      maxTokens = request.maxTokens;
      return Promise.resolve({});
    };
    const result = await createTestOrchestrator([engine]).generate({ model: "llama3.2:3b", maxTokens: 100_000 });
    expect(maxTokens).toBeLessThanOrEqual(4096);
    expect(result.notes[0]).toMatch(/^answer limited to \d+ tokens instead of 100000: /);
  });

  it("puts files before the prompt, so that a second prompt shares their prefix", async () => {
    const engine = createFakeEngine("ollama", [small]);
    let content = "";
    engine.answer = (request) => {
      content = request.messages.at(-1)?.content ?? "";
      return Promise.resolve({});
    };
    await createTestOrchestrator([engine]).generate({
      prompt: "What is it?",
      files: [{ path: "notes.txt", text: "A list." }],
    });
    expect(content).toBe("File notes.txt:\n```\nA list.\n```\n\nWhat is it?");
  });

  it.each(["", "  \n"])("rejects an empty prompt: %j", async (prompt) => {
    expect(
      await failureOf(createTestOrchestrator([createFakeEngine("ollama", [small])]).generate({ prompt })),
    ).toBeInstanceOf(InvalidRequest);
  });

  it("uses another engine while one hangs", async () => {
    const hanging = createFakeEngine("ollama", [], { list: () => new Promise(() => undefined) });
    const result = await createTestOrchestrator([hanging, createFakeEngine("llama-cpp", [small])]).generate({});
    expect(result.engine).toBe("llama-cpp");
  });
});

describe("the speed of an answer", () => {
  it("is unknown after a single token, whose time belongs to the prompt", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", 2 * gigabyte)]);
    const { generate } = createTestOrchestrator([engine]);
    engine.answer = () => Promise.resolve({ completionTokens: 1, decodeMs: 0.3 });
    expect((await generate({})).tokensPerSecond).toBe(0);
    engine.answer = () => Promise.resolve({ completionTokens: 10, decodeMs: 100 });
    expect((await generate({})).tokensPerSecond).toBe(100);
  });
});
