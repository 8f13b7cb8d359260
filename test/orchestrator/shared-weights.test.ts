import { describe, expect, it } from "vitest";
import { createTestOrchestrator } from "../support/orchestrator.ts";
import { startPair } from "./engines/ollama/fixture.ts";
import type { FakeModel } from "../support/fake-ollama.ts";
import { createFakeEngine, createGate, fakeModel, gigabyte } from "../support/fake-engine.ts";

const weights = "b".repeat(64);
const base: FakeModel = { name: "base:1b", weights };
const pirate: FakeModel = { name: "pirate:1b", weights, system: "You are a pirate." };
const other: FakeModel = { name: "other:1b" };

/** The real orchestrator and adapter with a server that runs one process per file of weights. */
async function start(models: readonly FakeModel[] = [base, pirate, other], memoryBytes = 32 * gigabyte) {
  const { fake, engine } = await startPair({ models });
  const usedElsewhereBytes = () => fake.residents.size * 0.2 * gigabyte;
  const harness = createTestOrchestrator([engine], { memoryBytes, now: () => Date.now(), usedElsewhereBytes });
  const { orchestrator, caller } = harness;
  return {
    ...harness,
    fake,
    engine,
    async load(model: string, contextTokens: number, keepAliveSeconds?: number) {
      const stay = keepAliveSeconds === undefined ? {} : { keepAliveSeconds };
      const operation = await orchestrator.loadModel(caller(), { model, contextTokens, ...stay });
      return operation.follow(caller().signal);
    },
  };
}

describe("names of the same weights in Ollama, which share a process", () => {
  it("share a loaded context: alternating between them loads nothing", async () => {
    const { fake, load, generate } = await start();
    await load(base.name, 8_192);
    for (let turn = 0; turn < 2; turn += 1) {
      expect(await load(pirate.name, 4_096)).toMatchObject({ wasLoaded: true, plan: { contextTokens: 8_192 } });
      expect(await load(base.name, 8_192)).toMatchObject({ wasLoaded: true });
      await generate({ model: pirate.name });
      await generate({ model: base.name });
    }
    expect(fake.loads).toEqual([{ name: base.name, contextTokens: 8_192 }]);
  });

  it("share a loaded context where their lists call them different sizes", async () => {
    const twin: FakeModel = { name: "twin:1b", weights, parameterSize: "135M", system: "You are a twin." };
    const { fake, load, generate, orchestrator, caller } = await start([base, twin, other]);
    await load(base.name, 8_192);
    expect(await load(twin.name, 4_096)).toMatchObject({ wasLoaded: true, plan: { contextTokens: 8_192 } });
    await generate({ model: twin.name });
    expect(await orchestrator.planLoad(caller(), { model: twin.name })).toMatchObject({ isLoaded: true, evict: [] });
    expect(fake.loads).toEqual([{ name: base.name, contextTokens: 8_192 }]);
  });

  it("are reloaded together with more context, which serves both", async () => {
    const { fake, load } = await start();
    await load(base.name, 4_096);
    const { plan } = await load(pirate.name, 8_192);
    expect(plan.evict).toMatchObject([{ name: base.name }]);
    expect(plan.steps.join("\n")).toContain("to load pirate:1b, which has the same weights");
    await load(base.name, 4_096);
    expect(fake.loads.slice(1)).toEqual([{ name: pirate.name, contextTokens: 8_192 }]);
  });

  it("are planned without memory if one of them is loaded, which the plan names", async () => {
    const { load, orchestrator, caller } = await start();
    await load(base.name, 4_096);
    const plan = await orchestrator.planLoad(caller(), { model: pirate.name });
    expect(plan).toMatchObject({ isLoaded: true, neededBytes: 0, evict: [] });
    expect(plan.steps[0]).toContain("pirate:1b is already loaded as base:1b");
  });

  it("are both listed as loaded", async () => {
    const { load, orchestrator, caller } = await start();
    await load(base.name, 4_096);
    const { models } = await orchestrator.listModels(caller(), { isLoadedOnly: true });
    expect(models.map(({ name }) => name)).toEqual([base.name, pirate.name]);
  });

  it("are unloaded together, by the name that the engine lists", async () => {
    const { fake, load, orchestrator, caller } = await start();
    await load(base.name, 4_096);
    expect(await orchestrator.unloadModels(caller(), pirate.name)).toMatchObject([
      { name: base.name, alsoAnsweredFor: pirate.name },
    ]);
    expect(fake.residents.size).toBe(0);
  });

  it("are shown as one loaded model with all names and a common last use", async () => {
    const { load, generate, orchestrator, caller } = await start();
    await load(base.name, 4_096);
    await generate({ model: pirate.name });
    const { loaded } = await orchestrator.ramStatus(caller());
    expect(loaded).toMatchObject([
      { name: base.name, alsoAnswersFor: [pirate.name], lastUsedAt: expect.any(String) as string },
    ]);
  });

  it("don't affect the other one when one is deleted", async () => {
    const { fake, load, orchestrator, caller } = await start();
    await load(base.name, 4_096);
    await orchestrator.setPinned(caller(), pirate.name, true);
    await orchestrator.deleteModel(caller(), pirate.name);
    expect((await orchestrator.ramStatus(caller())).loaded[0]).not.toHaveProperty("isPinned");
    expect([...fake.residents.values()][0]?.keepAliveSeconds).toBeGreaterThan(0);
    expect([...fake.residents.values()]).toMatchObject([{ name: base.name }]);
  });

  it("keep the common process loaded during an answer: it is neither unloaded nor reloaded", async () => {
    const { fake, load, generate, orchestrator, caller } = await start();
    await load(base.name, 4_096);
    const gate = createGate();
    fake.misbehave({ kind: "hang", afterLines: 1, until: gate.pass() });
    const answer = generate({ model: pirate.name });
    await fake.request("/api/chat");
    await expect(orchestrator.unloadModels(caller(), base.name)).rejects.toThrow("base:1b is in use");
    const grown = load(base.name, 8_192);
    const waits = () =>
      orchestrator.decisions(caller()).some(({ kind, model }) => kind === "wait" && model === base.name);
    await expect.poll(waits, { timeout: 10_000 }).toBe(true);
    expect(fake.loads).toHaveLength(1);
    gate.open();
    await answer;
    await grown;
    expect(fake.loads.at(-1)).toEqual({ name: base.name, contextTokens: 8_192 });
  });

  it("protect the common process from eviction during an answer by either name", async () => {
    // Memory for one of them beside the buffer.
    const { fake, load, generate, orchestrator, caller } = await start([base, pirate, other], 2.5 * gigabyte);
    await load(base.name, 4_096);
    const plan = () => orchestrator.planLoad(caller(), { model: other.name });
    expect(await plan()).toMatchObject({ fits: true, evict: [{ name: base.name }] });
    const gate = createGate();
    fake.misbehave({ kind: "hang", afterLines: 1, until: gate.pass() });
    const answer = generate({ model: pirate.name });
    await fake.request("/api/chat");
    expect(await plan()).toMatchObject({ fits: false, evict: [] });
    gate.open();
    await answer;
    expect(await plan()).toMatchObject({ fits: true, evict: [{ name: base.name }] });
  });

  it("are pinned together", async () => {
    const { load, orchestrator, caller, fake } = await start();
    await load(base.name, 4_096);
    await orchestrator.setPinned(caller(), pirate.name, true);
    expect([...fake.residents.values()]).toMatchObject([{ keepAliveSeconds: -1 }]);
    await orchestrator.ramStatus(caller());
    expect(orchestrator.activity()).toMatchObject({ pinned: 1 });
    expect(await orchestrator.unloadModels(caller(), base.name)).toMatchObject([{ wasPinned: true }]);
    const { models } = await orchestrator.listModels(caller(), { query: pirate.name });
    expect(models.map(({ isPinned }) => isPinned)).toEqual([undefined]);
  });

  it("stay pinned whatever keep-alive an answer or a load by the other name has", async () => {
    const { load, generate, orchestrator, caller, fake } = await start();
    await load(base.name, 4_096);
    await orchestrator.setPinned(caller(), base.name, true);
    await generate({ model: pirate.name, keepAliveSeconds: 0 });
    expect([...fake.residents.values()]).toMatchObject([{ name: base.name, keepAliveSeconds: -1 }]);
    await load(pirate.name, 4_096, 60);
    expect([...fake.residents.values()]).toMatchObject([{ name: base.name, keepAliveSeconds: -1 }]);
  });

  it("share the keep-alive of an answer by either name", async () => {
    const { load, generate, fake } = await start();
    await load(base.name, 4_096);
    await generate({ model: pirate.name, keepAliveSeconds: 3_600 });
    await generate({ model: base.name });
    expect([...fake.residents.values()]).toMatchObject([{ name: base.name, keepAliveSeconds: 3_600 }]);
  });

  it("are independent of a deleted name", async () => {
    const { fake, engine } = await startPair({ models: [base, pirate] });
    const elsewhere = createFakeEngine("llama-cpp", [fakeModel(pirate.name, gigabyte)], { kind: "llama-cpp" });
    const { orchestrator, caller, generate } = createTestOrchestrator([engine, elsewhere], {
      memoryBytes: 32 * gigabyte,
    });
    await generate({ model: base.name });
    await orchestrator.planLoad(caller(), { model: pirate.name });
    expect(await orchestrator.deleteModel(caller(), pirate.name)).toMatchObject({ engine: "ollama" });
    await orchestrator.setPinned(caller(), pirate.name, true);
    await generate({ model: base.name, keepAliveSeconds: 60 });
    expect([...fake.residents.values()]).toMatchObject([{ name: base.name, keepAliveSeconds: 60 }]);
  });

  it("don't share a process with other adapters on the same weights, which replace it", async () => {
    const tuned = { name: "tuned:1b", weights, adapters: [`sha256:${"c".repeat(64)}`] };
    const { fake, load, orchestrator, caller } = await start([base, tuned]);
    await load(base.name, 8_192);
    const plan = await orchestrator.planLoad(caller(), { model: tuned.name });
    expect(plan).toMatchObject({ isLoaded: false, evict: [{ name: base.name }] });
    await load(tuned.name, 4_096);
    expect(fake.loads.at(-1)).toEqual({ name: tuned.name, contextTokens: 4_096 });
  });
});
