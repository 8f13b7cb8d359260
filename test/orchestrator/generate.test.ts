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
} from "../../src/orchestrator/errors.ts";
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
  it("loads the model inside the same call, and only once", async () => {
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

  it("with no model at all, says what to pull here and why", async () => {
    const error = await failureOf(
      createTestOrchestrator([createFakeEngine("ollama", [])], { memoryBytes: 8 * gigabyte }).generate({}),
    );
    expect(error).toBeInstanceOf(UnknownModel);
    expect(error.message).toBe("no model is installed");
    expect(error.next).toEqual([
      { step: "pullModel", model: "qwen2.5:7b", because: expect.stringContaining("GB download") as string },
    ]);
  });

  it("with no model and an engine that is down, says both", async () => {
    const engine = createFakeEngine("ollama", []);
    engine.down = new EngineUnreachable("Ollama does not answer at http://127.0.0.1:1");
    const error = await failureOf(createTestOrchestrator([engine]).generate({}));
    expect(error.message).toBe("no model is installed; Ollama does not answer at http://127.0.0.1:1");
  });

  it("text that a failed model wrote is no part of the next one's", async () => {
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

  it("an unknown model is answered with the nearest names, and nothing is loaded", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const error = await failureOf(createTestOrchestrator([engine]).generate({ model: "lama3.2:3b" }));
    expect(error).toBeInstanceOf(UnknownModel);
    expect(error.next[0]).toEqual({ step: "didYouMean", names: ["llama3.2:3b"] });
    expect(engine.calls).toEqual([]);
  });

  it("a model that somebody else loaded with a smaller but sufficient context is used as it is", async () => {
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

  it("a model pulled by another program is found without waiting for a cache to age", async () => {
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

  it("says so while it waits for its turn", async () => {
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

  it("two requests for a model that is being loaded share the load", async () => {
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

  it("a call that is cancelled while it shares a load leaves the load to the other", async () => {
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

  it("a cancelled call reaches the engine", async () => {
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

  it("goes to the next model when one can't be loaded, and says so", async () => {
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

  it("a model that was named is not replaced by another one", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    engine.beforeLoad = (model) =>
      model === coder.name ? Promise.reject(new LoadFailed("the file is damaged")) : Promise.resolve();
    const error = await failureOf(createTestOrchestrator([engine]).generate({ model: coder.name }));
    expect(error).toBeInstanceOf(LoadFailed);
    expect(engine.calls).not.toContain(`generate ${small.name}`);
  });

  it("a model that was named is tried again although it failed a moment ago", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    engine.answer = () => Promise.reject(new EngineUnreachable("ollama does not answer"));
    await failureOf(generate({ model: small.name }));
    await failureOf(generate({}));
    engine.answer = () => Promise.resolve({});
    expect((await generate({ model: small.name })).model).toBe(small.name);
  });

  it("a named model goes to the other engine that holds it when its first one is down", async () => {
    const first = createFakeEngine("ollama", [small]);
    const second = createFakeEngine("llama-cpp", [small], { kind: "llama-cpp" });
    first.beforeLoad = () => Promise.reject(new EngineUnreachable("ollama does not answer"));
    const result = await createTestOrchestrator([first, second]).generate({ model: small.name });
    expect(result.engine).toBe("llama-cpp");
  });

  it("says which models need how much when nothing can be made to fit", async () => {
    const engine = createFakeEngine("ollama", [small, large]);
    const { generate } = createTestOrchestrator([engine], { memoryBytes: 8 * gigabyte });
    const error = await failureOf(generate({ model: large.name }));
    expect(error).toBeInstanceOf(ModelDoesNotFit);
    expect(error.message).toContain("qwen2.5:14b needs 11.0 GB at 4096 tokens of context; 8.0 GB are free");
    expect(error.next).toContainEqual({ step: "useModel", model: "llama3.2:3b", because: "2.0 GB, fits" });
    expect(engine.calls).toEqual([]);
  });

  it("under local_only a cloud model is locked out, whoever names it", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [cloud]);
    const { generate, orchestrator, caller } = createTestOrchestrator([engine]);
    expect(await failureOf(generate({ model: cloud.name }))).toBeInstanceOf(PrivacyLocked);
    expect(await failureOf(generate({ model: cloud.name, privacy: "allow_remote" }))).toBeInstanceOf(PrivacyLocked);
    expect(await failureOf(generate({}))).toBeInstanceOf(PrivacyLocked);
    expect(engine.calls).toEqual([]);
    expect((await orchestrator.systemStatus(caller())).remoteRequests).toBe(0);
  });

  it("a fallback never leaves this machine under local_only", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [small, cloud]);
    engine.beforeLoad = () => Promise.reject(new LoadFailed("out of memory"));
    expect(await failureOf(createTestOrchestrator([engine]).generate({}))).toBeInstanceOf(LoadFailed);
    expect(engine.calls).toEqual(["load llama3.2:3b 4096"]);
  });

  it("allow_remote lets a cloud model answer, without loading anything, and counts it", async () => {
    const cloud = fakeModel("kimi-k2:cloud", 0, { trust: "remote" });
    const engine = createFakeEngine("ollama", [cloud]);
    const harness = createTestOrchestrator([engine], { settings: { privacy: "allow_remote" } });
    expect((await harness.generate({})).model).toBe(cloud.name);
    expect(engine.calls).toEqual(["generate kimi-k2:cloud"]);
    expect((await harness.orchestrator.systemStatus(harness.caller())).remoteRequests).toBe(1);
    expect(await failureOf(harness.generate({ privacy: "local_only" }))).toBeInstanceOf(PrivacyLocked);
  });

  it("grows the context when the engine counts more tokens than were estimated", async () => {
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

  it("refuses a prompt beyond the model's window with both numbers, counted by the engine", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte, { contextTokens: 8192 })]);
    engine.answer = (request) =>
      Promise.reject(new PromptTooLong("too long", { promptTokens: 9000, contextTokens: request.contextTokens }));
    const error = await failureOf(createTestOrchestrator([engine]).generate({ model: "llama3.2:3b" }));
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(error.message).toBe("the prompt has 9000 tokens; the window of llama3.2:3b has 8192");
    expect(engine.calls.at(-1)).toBe("generate llama3.2:3b");
  });

  it("refuses a prompt that is far beyond the window without loading anything", async () => {
    const engine = createFakeEngine("ollama", [fakeModel("llama3.2:3b", gigabyte, { contextTokens: 2048 })]);
    const error = await failureOf(
      createTestOrchestrator([engine]).generate({ model: "llama3.2:3b", prompt: "word ".repeat(50_000) }),
    );
    expect(error).toBeInstanceOf(PromptTooLong);
    expect(engine.calls).toEqual([]);
  });

  it("lowers max_tokens that the model can't give, and says so", async () => {
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

  it("puts files before the question, so that a second question shares their prefix", async () => {
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

  it.each(["", "  \n"])("an empty prompt is refused: %j", async (prompt) => {
    expect(
      await failureOf(createTestOrchestrator([createFakeEngine("ollama", [small])]).generate({ prompt })),
    ).toBeInstanceOf(InvalidRequest);
  });

  it("an engine that hangs doesn't keep the others from answering", async () => {
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
