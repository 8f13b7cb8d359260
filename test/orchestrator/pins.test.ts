import { setImmediate as delivered } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { InvalidRequest, ModelDoesNotFit, UnknownModel } from "../../src/orchestrator/api/errors.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";
import { createHandSettings } from "../support/hand-settings.ts";
import { createTestOrchestrator } from "../support/orchestrator.ts";

const small = fakeModel("llama3.2:3b", 2 * gigabyte);
const other = fakeModel("gemma3:4b", 3 * gigabyte);
const large = fakeModel("qwen2.5:14b", 9 * gigabyte);
const memory = { bufferBytes: 2 * gigabyte };

function setup(settings: object = {}, memoryBytes = 14 * gigabyte) {
  const engine = createFakeEngine("ollama", [small, other, large]);
  const live = createHandSettings({ memory, ...settings });
  const harness = createTestOrchestrator([engine], { live, memoryBytes });
  const load = async (model: string, more: object = {}) =>
    (await harness.orchestrator.loadModel(harness.caller(), { model, ...more })).follow(harness.caller().signal);
  const pin = (name: string, isPinned: boolean) => harness.orchestrator.setPinned(harness.caller(), name, isPinned);
  const loaded = async () => (await harness.orchestrator.ramStatus(harness.caller())).loaded;
  return { ...harness, engine, live, load, pin, loaded };
}

it("pinning, unloading, deleting or describing an absent model advises no pull: near names, and the list", async () => {
  const { orchestrator, caller } = setup();
  const list = { step: "listModels" };
  for (const [name, next] of [
    ["nope", list],
    ["lama3.2:3b", [{ step: "didYouMean", names: [small.name] }, list]],
  ] as const) {
    for (const call of [
      () => orchestrator.setPinned(caller(), name, true),
      () => orchestrator.setPinned(caller(), name, false),
      () => orchestrator.unloadModels(caller(), name),
      () => orchestrator.deleteModel(caller(), name),
      () => orchestrator.describeModel(caller(), name, true),
    ]) {
      const error = await call().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(UnknownModel);
      expect(error).toMatchObject({ message: `no model ${name}`, next: [next].flat() });
    }
  }
});

/** Slightly longer once uses are known: see `residency/keep-alive.ts`. */
const setting: unknown = expect.closeTo(900, -2);

describe("a pinned model", () => {
  it("has an endless keep-alive, and the configured one once it is unpinned", async () => {
    const { engine, load, pin, loaded, orchestrator } = setup();
    await load(small.name);
    expect(engine.keepAlives.get(small.name)).toBe(900);
    expect(await pin("llama3.2:3b", true)).toBe(small.name);
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    expect(await loaded()).toMatchObject([{ name: small.name, isPinned: true }]);
    expect(orchestrator.activity().pinned).toBe(1);
    await pin(small.name, false);
    expect(engine.keepAlives.get(small.name)).toEqual(setting);
    expect((await loaded())[0]).not.toHaveProperty("isPinned");
    expect(orchestrator.activity().pinned).toBe(0);
  });

  it("has the configured keep-alive once it is unpinned, even after answers", async () => {
    const { engine, generate, pin } = setup();
    await generate({ model: small.name });
    await pin(small.name, true);
    await generate({ model: small.name });
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    await pin(small.name, false);
    expect(engine.keepAlives.get(small.name)).toEqual(setting);
  });

  it("publishes a change of the memory", async () => {
    const { load, pin, orchestrator } = setup();
    await load(small.name);
    const told: string[] = [];
    orchestrator.onChange(({ kind }) => told.push(kind));
    await pin(small.name, true);
    await delivered();
    expect(told).toContain("memory");
  });

  it("has the keep-alive of its load once it is unpinned", async () => {
    const { engine, load, pin } = setup();
    await load(small.name, { keepAliveSeconds: 60 });
    await pin(small.name, true);
    await pin(small.name, false);
    expect(engine.keepAlives.get(small.name)).toBe(60);
  });

  it("that is not loaded is pinned from its next load on, whatever keep-alive that has", async () => {
    const { engine, load, pin, orchestrator } = setup();
    await pin(small.name, true);
    expect(engine.calls).toEqual([]);
    expect(orchestrator.activity().pinned).toBe(0);
    await load(small.name, { keepAliveSeconds: 5 });
    expect(engine.keepAlives.get(small.name)).toBe(-1);
    await load(small.name, { keepAliveSeconds: 5 });
    expect(engine.keepAlives.get(small.name)).toBe(-1);
  });

  it("can be pinned during its load", async () => {
    const { engine, load, pin } = setup();
    const gate = createGate();
    engine.beforeLoad = () => gate.pass();
    const loading = load(small.name);
    await gate.entered;
    const pinning = pin(small.name, true);
    await pinning;
    gate.open();
    await loading;
    expect(engine.keepAlives.get(small.name)).toBe(-1);
  });

  it("is not evicted, even if another model is more expensive to reload", async () => {
    const { engine, load, pin } = setup();
    await load(small.name);
    await load(other.name);
    await pin(small.name, true);
    await load(large.name);
    expect([...engine.resident.keys()]).toEqual([small.name, large.name]);
  });

  it("is named, with the step to unpin it, if it keeps a model from fitting", async () => {
    const { engine, load, pin, orchestrator, caller } = setup({}, 12 * gigabyte);
    await load(other.name);
    await pin(other.name, true);
    const plan = await orchestrator.planLoad(caller(), { model: large.name });
    expect(plan.fits).toBe(false);
    expect(plan.steps.at(-1)).toContain("gemma3:4b is pinned");
    const refused = load(large.name);
    await expect(refused).rejects.toBeInstanceOf(ModelDoesNotFit);
    await expect(refused).rejects.toThrow(/gemma3:4b is pinned/);
    await expect(refused).rejects.toMatchObject({
      next: [
        { step: "unpinModels", models: ["gemma3:4b"] },
        { step: "useModel", model: "gemma3:4b" },
      ],
    });
    await pin(other.name, false);
    await load(large.name);
    expect([...engine.resident.keys()]).toEqual([large.name]);
  });

  it("is named if it leaves a request without a model", async () => {
    const embedding = fakeModel("nomic-embed-text:latest", 3 * gigabyte, { capabilities: ["embedding"] });
    const engine = createFakeEngine("ollama", [embedding, large]);
    const harness = createTestOrchestrator([engine], {
      live: createHandSettings({ memory }),
      memoryBytes: 12 * gigabyte,
    });
    const caller = harness.caller();
    const loading = await harness.orchestrator.loadModel(caller, { model: embedding.name });
    await loading.follow(caller.signal);
    await harness.orchestrator.setPinned(caller, embedding.name, true);
    const ask = async () => (await harness.orchestrator.generate(caller, { prompt: "hi" })).follow(caller.signal);
    await expect(ask()).rejects.toMatchObject({
      message: "qwen2.5:14b (9.0 GB) does not fit in memory while nomic-embed-text:latest is pinned",
      next: [{ step: "unpinModels", models: ["nomic-embed-text:latest"] }],
    });
  });

  it("is not named if the model would not fit without it either", async () => {
    const { load, pin } = setup({}, 10 * gigabyte);
    await load(small.name);
    await pin(small.name, true);
    await expect(load(large.name)).rejects.not.toThrow(/pinned/);
  });

  it("is unloaded and unpinned on user request", async () => {
    const { engine, load, pin, orchestrator, caller } = setup();
    await load(small.name);
    await pin(small.name, true);
    expect(await orchestrator.unloadModels(caller())).toMatchObject([{ name: small.name, wasPinned: true }]);
    expect(engine.resident.size).toBe(0);
    await load(small.name);
    expect(engine.keepAlives.get(small.name)).toEqual(setting);
    expect(orchestrator.activity().pinned).toBe(0);
  });

  it("is no longer counted if its engine lost it", async () => {
    const { engine, load, pin, loaded, orchestrator } = setup();
    await load(small.name);
    await pin(small.name, true);
    engine.resident.clear();
    await loaded();
    expect(orchestrator.activity().pinned).toBe(0);
  });

  it("must exist and be loadable here", async () => {
    const { engine, pin } = setup();
    engine.models.push(fakeModel("big:cloud", 0, { trust: "remote" }));
    await expect(pin("missing:7b", true)).rejects.toBeInstanceOf(UnknownModel);
    await expect(pin("big:cloud", true)).rejects.toBeInstanceOf(InvalidRequest);
  });
});

describe("model.keepAlive.models", () => {
  const keepAlive = { models: ["llama3*"] };

  it("pins matching models when they are loaded; unpinning lasts until the next load", async () => {
    const { engine, load, pin, orchestrator, caller } = setup({ model: { keepAlive } });
    await load(small.name);
    await load(other.name);
    expect(Object.fromEntries(engine.keepAlives)).toEqual({ [small.name]: -1, [other.name]: 900 });
    await pin(small.name, false);
    expect(engine.keepAlives.get(small.name)).toBe(900);
    await orchestrator.unloadModels(caller(), small.name);
    await load(small.name);
    expect(engine.keepAlives.get(small.name)).toBe(-1);
  });

  it("is applied to loaded models when it changes", async () => {
    const { engine, load, live } = setup();
    await load(small.name);
    live.change({ memory, model: { keepAlive } });
    await expect.poll(() => engine.keepAlives.get(small.name)).toBe(-1);
    live.change({ memory, model: { keepAlive: { timeout: 60 } } });
    await expect.poll(() => engine.keepAlives.get(small.name)).toEqual(expect.closeTo(60, -1));
  });

  it("has no effect with enabled: false, which sends no keep-alives", async () => {
    const { engine, load, pin } = setup({ model: { keepAlive: { ...keepAlive, enabled: false } } });
    await load(small.name);
    expect(engine.keepAlives.size).toBe(0);
    await expect(pin(small.name, true)).rejects.toBeInstanceOf(InvalidRequest);
    await load(other.name, { keepAliveSeconds: 30 });
    expect(engine.keepAlives.get(other.name)).toBe(30);
  });
});

describe("the setting models", () => {
  it("sets the keep-alive of each model; the last matching pattern wins", async () => {
    const models = { "*": { keepAlive: 30 }, "llama3.2:3b": { keepAlive: -1 } };
    const { engine, load } = setup({ models });
    await load(small.name);
    await load(other.name);
    expect(Object.fromEntries(engine.keepAlives)).toEqual({ [small.name]: -1, [other.name]: 30 });
  });

  it("sets the size of a model in place of all estimates", async () => {
    const { orchestrator, caller, live } = setup({ models: { "llama3.2:3b": { sizeBytes: 5 * gigabyte } } });
    const plan = await orchestrator.planLoad(caller(), { model: small.name });
    expect(plan.estimate).toEqual({ method: "configured", predictedBytes: 5 * gigabyte, margin: 0, processBytes: 0 });
    expect(plan.neededBytes).toBe(7 * gigabyte);
    live.change({ memory, models: { "llama3.2:3b": { sizeBytes: 100 * gigabyte } } });
    expect((await orchestrator.planLoad(caller(), { model: small.name })).fits).toBe(false);
    const { models } = await orchestrator.listModels(caller(), {});
    expect(models.find(({ name }) => name === small.name)?.fits).toBe(false);
  });

  it("sets the minimum context of a load, which a request can override", async () => {
    const { engine, load } = setup({
      models: { "llama3.2": { contextTokens: 512 }, "llama*": { contextTokens: 8192 } },
    });
    await load(small.name);
    expect(engine.resident.get(small.name)?.contextTokens).toBe(8192);
    const { engine: another, load: loadOther } = setup({ models: { "llama*": { contextTokens: 8192 } } });
    await loadOther(small.name, { contextTokens: 1024 });
    expect(another.resident.get(small.name)?.contextTokens).toBe(1024);
  });
});
