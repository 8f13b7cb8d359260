import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { ModelDoesNotFit, UnloadUnconfirmed } from "../../../src/orchestrator/api/errors.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const stuck = fakeModel("stuck:3b", 3 * gigabyte);
const idle = fakeModel("idle:4b", 4 * gigabyte);
const next = fakeModel("next:3b", 3 * gigabyte);

/** Memory for two of the models; `stuck` stays loaded when it is unloaded. */
function setup(memoryBytes: number, clock = { ms: 0 }) {
  const engine = createFakeEngine("ollama", [stuck, idle, next]);
  // Loads take one second per gigabyte: the smaller model is evicted first.
  engine.beforeLoad = (model) => {
    clock.ms += (engine.models.find(({ name }) => name === model)?.sizeBytes ?? 0) / 1e6;
    return Promise.resolve();
  };
  const { residency } = engine;
  if (residency === undefined) throw new Error("the fake has no residency");
  let tries = 0;
  const stubborn = {
    ...engine,
    residency: {
      ...residency,
      unload: (name: string, signal: AbortSignal) => {
        if (name !== stuck.name) return residency.unload(name, signal);
        tries += 1;
        return Promise.reject(new UnloadUnconfirmed(`${name} is still in memory 30 s after it was unloaded`));
      },
    },
  };
  const settings = { memory: { bufferBytes: gigabyte } };
  const harness = createTestOrchestrator([stubborn], { memoryBytes, settings, now: () => clock.ms });
  const load = async (model: string) => {
    const operation = await harness.orchestrator.loadModel(harness.caller(), { model });
    await operation.follow(harness.caller().signal);
    // A model that was loaded in this turn is not evicted yet.
    await nextTurn();
  };
  return { ...harness, engine, load, tries: () => tries };
}

describe("a model whose unload is not confirmed", () => {
  it("still counts as loaded, and another model is evicted instead", async () => {
    const { engine, load, orchestrator, caller } = setup(9.5 * gigabyte);
    await load(stuck.name);
    await load(idle.name);
    await load(next.name);
    expect([...engine.resident.keys()].toSorted()).toEqual([next.name, stuck.name]);
    const [loaded, replanned] = orchestrator.decisions(caller());
    expect(replanned).toMatchObject({ kind: "replan", steps: [expect.stringContaining("still in memory 30 s")] });
    expect(loaded?.steps.join("\n")).toContain("loaded stuck:3b 3.0 GB");
  });

  it("delays only one load: later ones count its memory as taken and report it", async () => {
    const { load, tries, orchestrator, caller } = setup(6 * gigabyte);
    await load(stuck.name);
    await expect(load(next.name)).rejects.toBeInstanceOf(ModelDoesNotFit);
    await expect(load(next.name)).rejects.toBeInstanceOf(ModelDoesNotFit);
    expect(tries()).toBe(1);
    const { steps } = await orchestrator.planLoad(caller(), { model: next.name });
    expect(steps.join("\n")).toContain("the unload of stuck:3b was not confirmed");
  });

  it("is unloaded again after ten minutes", async () => {
    const clock = { ms: 0 };
    const { load, tries } = setup(6 * gigabyte, clock);
    await load(stuck.name);
    await expect(load(next.name)).rejects.toBeInstanceOf(ModelDoesNotFit);
    clock.ms += 600_001;
    await expect(load(next.name)).rejects.toBeInstanceOf(ModelDoesNotFit);
    expect(tries()).toBe(2);
  });

  it("is reported on each unload by name, which is tried each time", async () => {
    const { load, orchestrator, caller, tries } = setup(9.5 * gigabyte);
    await load(stuck.name);
    const unload = () => orchestrator.unloadModels(caller(), stuck.name);
    await expect(unload()).rejects.toBeInstanceOf(UnloadUnconfirmed);
    await expect(unload()).rejects.toBeInstanceOf(UnloadUnconfirmed);
    expect(tries()).toBe(2);
  });
});

describe("an unload of all models", () => {
  it("reports what it waits for, and continues with the others if one is not confirmed", async () => {
    const { engine, load, orchestrator, caller } = setup(20 * gigabyte);
    await load(stuck.name);
    await load(idle.name);
    await nextTurn();
    const messages: string[] = [];
    const unloading = orchestrator.unloadModels(caller(), undefined, ({ message }) => void messages.push(message));
    await expect(unloading).rejects.toThrow(/unloaded: idle:4b$/);
    await expect(unloading).rejects.toBeInstanceOf(UnloadUnconfirmed);
    expect([...engine.resident.keys()]).toEqual([stuck.name]);
    expect(messages).toEqual([
      "unloading stuck:3b: waiting until ollama has unloaded it",
      "unloading idle:4b: waiting until ollama has unloaded it",
    ]);
  });
});

describe("a model that was deleted while it was loaded", () => {
  it("counts as loaded until its engine unloads it, and is no longer listed", async () => {
    const clock = { ms: 0 };
    const { engine, load, orchestrator, caller, generate } = setup(9.5 * gigabyte, clock);
    await load(stuck.name);
    engine.models.splice(0, 1);
    clock.ms += 10_000;
    // The first request of an old list refreshes it.
    await orchestrator.listModels(caller(), {});
    await nextTurn();
    const { models } = await orchestrator.listModels(caller(), {});
    expect(models.map(({ name }) => name)).not.toContain(stuck.name);
    const plan = await orchestrator.planLoad(caller(), { model: idle.name });
    expect(plan.freeBytes).toBe(6.5 * gigabyte);
    expect((await generate({ model: idle.name })).model).toBe(idle.name);
    expect([...engine.resident.keys()].toSorted()).toEqual([idle.name, stuck.name]);
  });

  it("can still be unloaded by its name", async () => {
    const clock = { ms: 0 };
    const { engine, load, orchestrator, caller } = setup(9.5 * gigabyte, clock);
    await load(idle.name);
    engine.models.splice(1, 1);
    clock.ms += 10_000;
    await orchestrator.listModels(caller(), {});
    await nextTurn();
    const unloaded = await orchestrator.unloadModels(caller(), "Idle:4b");
    expect(unloaded).toMatchObject([{ name: idle.name, engine: "ollama", bytes: 4 * gigabyte }]);
    expect([...engine.resident.keys()]).toEqual([]);
    await expect(orchestrator.unloadModels(caller(), idle.name)).rejects.toThrow("no model idle:4b");
  });
});
