import { describe, expect, it } from "vitest";
import {
  EngineUnreachable,
  GenerationFailed,
  InvalidRequest,
  LoadFailed,
  PromptTooLong,
} from "../../src/orchestrator/api/errors.ts";
import { advice } from "../../src/orchestrator/api/next-step.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const coder = fakeModel("qwen2.5-coder:7b", 5 * gigabyte);
const gone = new EngineUnreachable("Ollama does not answer");

describe("an engine that goes down", () => {
  it("is replaced by another engine that holds the model, within the same call", async () => {
    const ollama = createFakeEngine("ollama", [small]);
    const embedded = createFakeEngine("llama-cpp", [small], { kind: "llama-cpp" });
    const { generate } = createTestOrchestrator([ollama, embedded]);
    expect((await generate({})).engine).toBe("ollama");
    ollama.down = gone;
    const answer = await generate({});
    expect(answer.engine).toBe("llama-cpp");
    expect(answer.route.attempts).toEqual([
      { model: small.name, engine: "ollama", outcome: "Ollama does not answer" },
      { model: small.name, engine: "llama-cpp", outcome: "answered" },
    ]);
    // Later calls don't try it first.
    expect((await generate({})).route.attempts).toHaveLength(1);
    expect((await generate({ model: small.name })).route.attempts).toHaveLength(1);
  });

  it("is tried once, not for each of its models", async () => {
    const ollama = createFakeEngine("ollama", [small, coder, fakeModel("mistral:7b", 4 * gigabyte)]);
    const { generate } = createTestOrchestrator([ollama]);
    await generate({});
    ollama.down = gone;
    ollama.calls.length = 0;
    await expect(generate({})).rejects.toBeInstanceOf(EngineUnreachable);
    expect(ollama.calls).toHaveLength(1);
  });

  it("makes a plan fail", async () => {
    const ollama = createFakeEngine("ollama", [small]);
    const { orchestrator, caller } = createTestOrchestrator([ollama]);
    expect((await orchestrator.planLoad(caller(), { model: small.name })).fits).toBe(true);
    ollama.down = gone;
    await expect(orchestrator.planLoad(caller(), { model: small.name })).rejects.toThrow("Ollama does not answer");
    ollama.down = undefined;
    expect((await orchestrator.planLoad(caller(), { model: small.name })).fits).toBe(true);
  });

  it("is tried again if no other engine can answer, and serves as soon as it is back", async () => {
    const ollama = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([ollama]);
    await generate({});
    ollama.down = gone;
    await expect(generate({})).rejects.toBeInstanceOf(EngineUnreachable);
    await expect(generate({})).rejects.toBeInstanceOf(EngineUnreachable);
    ollama.down = undefined;
    expect((await generate({})).engine).toBe("ollama");
  });
});

describe("a failure", () => {
  it("caused by a prompt doesn't affect the choice of the model", async () => {
    const engine = createFakeEngine("ollama", [small, coder]);
    const { generate } = createTestOrchestrator([engine]);
    const first = (await generate({})).model;
    engine.answer = (request) =>
      request.model === first
        ? Promise.reject(new PromptTooLong("too long", { promptTokens: 1, contextTokens: request.contextTokens }))
        : Promise.resolve({});
    await generate({});
    engine.answer = () => Promise.resolve({});
    expect((await generate({})).model).toBe(first);
  });

  it("doesn't exclude the model while nothing else fits", async () => {
    const engine = createFakeEngine("ollama", [small, fakeModel("qwen2.5:72b", 47 * gigabyte)]);
    const { generate } = createTestOrchestrator([engine], { memoryBytes: 8 * gigabyte });
    engine.answer = () => Promise.reject(new GenerationFailed("the engine process was killed"));
    await expect(generate({})).rejects.toThrow("the engine process was killed");
    engine.answer = () => Promise.resolve({});
    expect((await generate({})).model).toBe(small.name);
  });

  it("to read a file is cached and not repeated by every call", async () => {
    let looks = 0;
    const { capabilities: _capabilities, contextTokens: _contextTokens, ...unread } = fakeModel("broken:1b", gigabyte);
    const engine = createFakeEngine("ollama", [small, unread]);
    const describeOthers = engine.describe;
    engine.describe = (name, signal) => {
      if (name !== "broken:1b") return describeOthers(name, signal);
      looks += 1;
      return Promise.reject(new LoadFailed("broken:1b is cut off after 12 bytes"));
    };
    const { orchestrator, caller, generate } = createTestOrchestrator([engine]);
    await generate({ model: small.name });
    await generate({});
    await generate({});
    expect(looks).toBe(1);
    await (await orchestrator.pullModel(caller(), { model: "broken:1b" })).follow(caller().signal);
    await generate({});
    expect(looks).toBe(2);
  });

  it("drops the cached loaded models: the next call plans a load", async () => {
    const engine = createFakeEngine("ollama", [small]);
    const { generate } = createTestOrchestrator([engine]);
    await generate({});
    await generate({});
    engine.answer = () => {
      engine.resident.clear();
      return Promise.reject(new GenerationFailed("the engine process was killed"));
    };
    await expect(generate({ model: small.name })).rejects.toBeInstanceOf(GenerationFailed);
    engine.answer = () => Promise.resolve({});
    await generate({ model: small.name });
    expect(engine.calls.slice(-2)).toEqual(["load llama3.2:3b 4096", "generate llama3.2:3b"]);
  });
});

describe("listModels during changes", () => {
  it("fetches a list again that was dropped during its fetch, and doesn't show it as stale", async () => {
    const gate = createGate();
    const engine = createFakeEngine("ollama", [small, coder]);
    const { list } = engine;
    let fetchCount = 0;
    engine.list = async (signal) => {
      const models = await list(signal);
      fetchCount += 1;
      if (fetchCount === 1) await gate.pass();
      return models;
    };
    const { orchestrator, caller } = createTestOrchestrator([engine]);
    const listing = orchestrator.listModels(caller(), {});
    await gate.entered;
    const pull = await orchestrator.pullModel(caller(), { model: "mistral:7b" });
    await pull.follow(caller().signal);
    gate.open();
    const { models, stale } = await listing;
    expect(stale).toEqual([]);
    expect(models.map(({ name }) => name)).toContain("mistral:7b");
  });

  it("removes a model deleted in Ollama from the list of the engine that shares the files", async () => {
    const ollama = createFakeEngine("ollama", [small]);
    const embedded = createFakeEngine("llama-cpp", [], { kind: "llama-cpp" });
    embedded.list = () => Promise.resolve([...ollama.models]);
    const { orchestrator, caller } = createTestOrchestrator([ollama, embedded]);
    await orchestrator.listModels(caller(), {});
    await orchestrator.deleteModel(caller(), small.name);
    expect((await orchestrator.listModels(caller(), {})).models).toEqual([]);
  });

  it("suggests no pull while another engine holds models", async () => {
    const { orchestrator, caller } = createTestOrchestrator([
      createFakeEngine("ollama", [small]),
      createFakeEngine("llama-cpp", []),
    ]);
    expect((await orchestrator.listModels(caller(), { engine: "llama-cpp" })).suggestion).toBeUndefined();
  });

  it("plans a request for another engine, or fails as the request would", async () => {
    let nowMs = 0;
    const ollama = createFakeEngine("ollama", [small]);
    const other = createFakeEngine("ollama-2", [fakeModel("mistral:7b", gigabyte)]);
    const { orchestrator, caller } = createTestOrchestrator([ollama, other], { now: () => nowMs });
    const plan = () => orchestrator.planGeneration(caller(), { prompt: "hi" });
    const { engine } = await plan();
    const [first, second] = engine === "ollama" ? [ollama, other] : [other, ollama];
    first.down = gone;
    nowMs += 2_500;
    expect((await plan()).engine).toBe(second.id);
    second.down = gone;
    nowMs += 2_500;
    await expect(plan()).rejects.toThrow(gone.message);
  });

  it("names an unreachable engine if no model is found", async () => {
    const ollama = createFakeEngine("ollama", []);
    const { orchestrator, caller } = createTestOrchestrator([ollama, createFakeEngine("llama-cpp", [])]);
    ollama.down = gone;
    expect((await orchestrator.listModels(caller(), {})).unreachable).toEqual([gone.message]);
  });

  it("is the first warning of the page, with what starts it, whether its models are known or not", async () => {
    const ollama = createFakeEngine("ollama", [small]);
    const stopped = new EngineUnreachable("Ollama does not answer", {
      next: [{ step: "changeSetting", setting: "providers.ollama.host" }, advice("start it (`ollama serve`)")],
    });
    const { generate, orchestrator, caller } = createTestOrchestrator([ollama]);
    /** As an open page does. */
    const look = async () => {
      await orchestrator.ramStatus(caller());
      const { alerts } = await orchestrator.live.state(caller());
      return alerts.flatMap(({ text, until }) => (until === undefined ? [text] : []));
    };
    const said = "Ollama does not answer: start it (`ollama serve`)";
    ollama.down = stopped;
    expect((await look())[0]).toBe(said);
    ollama.down = undefined;
    expect(await look()).toEqual([]);
    await generate({});
    ollama.down = stopped;
    await expect(generate({})).rejects.toThrow("Ollama does not answer");
    const list = await orchestrator.listModels(caller(), {});
    expect([list.total, list.unreachable]).toEqual([1, [said]]);
    expect((await look())[0]).toBe(said);
  });

  it("reports unreachable engines as one warning of the status, only if no engine is left", async () => {
    const ollama = createFakeEngine("ollama", []);
    const embedded = createFakeEngine("llama-cpp", [], { kind: "llama-cpp" });
    const { orchestrator, caller } = createTestOrchestrator([ollama, embedded]);
    ollama.down = gone;
    expect((await orchestrator.systemStatus(caller())).warnings).toEqual([]);
    embedded.down = gone;
    expect((await orchestrator.systemStatus(caller())).warnings).toEqual(["no engine responds"]);
  });

  it("rejects an engine that is not configured with those that are", async () => {
    const { orchestrator, caller } = createTestOrchestrator([createFakeEngine("ollama", [small])]);
    const listing = orchestrator.listModels(caller(), { engine: "olama" });
    await expect(listing).rejects.toBeInstanceOf(InvalidRequest);
    await expect(listing).rejects.toMatchObject({
      message: "no engine olama",
      next: [{ step: "chooseOneOf", names: ["ollama"] }],
    });
  });
});
