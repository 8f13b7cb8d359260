import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { LoadFailed, OutOfMemory } from "../../../src/orchestrator/api/errors.ts";
import { advice } from "../../../src/orchestrator/api/next-step.ts";
import { createFakeEngine, fakeModel, gigabyte } from "../../support/fake-engine.ts";
import { createTestOrchestrator } from "../../support/orchestrator.ts";

const idle = fakeModel("idle:3b", 3 * gigabyte);
const other = fakeModel("other:3b", 4 * gigabyte);
const large = fakeModel("large:14b", 10 * gigabyte);
const said = "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer";

/**
 * By every plan all models fit; loading `large` runs out of memory while `isShort` returns true for the loaded names.
 */
function setup(
  isShort: (loaded: readonly string[]) => boolean,
  settings: object = {},
  more: Parameters<typeof createTestOrchestrator>[1] = {},
) {
  const engine = createFakeEngine("ollama", [idle, other, large]);
  // Loads take one second per gigabyte: the smaller model is evicted first.
  let nowMs = 0;
  engine.beforeLoad = (model) => {
    nowMs += (engine.models.find(({ name }) => name === model)?.sizeBytes ?? 0) / 1e6;
    return model === large.name && isShort([...engine.resident.keys()])
      ? Promise.reject(new OutOfMemory(`could not run ${model}: ${said}`))
      : Promise.resolve();
  };
  const harness = createTestOrchestrator([engine], { memoryBytes: 64 * gigabyte, settings, now: () => nowMs, ...more });
  const load = async (model: string) => {
    const operation = await harness.orchestrator.loadModel(harness.caller(), { model });
    await operation.follow(harness.caller().signal);
    // A model that was loaded in this turn is not evicted yet.
    await nextTurn();
  };
  const failure = async () => {
    const error: unknown = await load(large.name).catch((reason: unknown) => reason);
    if (!(error instanceof OutOfMemory)) throw new Error(`not out of memory: ${String(error)}`);
    return error;
  };
  return { ...harness, engine, load, failure };
}

describe("a load that runs out of memory although its plan fitted", () => {
  it("is tried once more after evicting no more idle models than needed", async () => {
    const { engine, load, orchestrator, caller } = setup((loaded) => loaded.length > 1);
    await load(idle.name);
    await load(other.name);
    await load(large.name);
    expect(engine.calls.filter((call) => !/load (idle|other)/.test(call) || call.startsWith("un"))).toEqual([
      "load large:14b 4096",
      "unload idle:3b",
      "load large:14b 4096",
    ]);
    const [replanned, planned] = orchestrator.decisions(caller());
    expect([planned?.kind, replanned?.kind]).toEqual(["load", "replan"]);
    expect(replanned?.steps).toEqual([`could not run large:14b: ${said}`, "unload idle:3b", "load large:14b again"]);
  });

  it("frees at least the size of the failed allocation if the engine reports it", async () => {
    const { engine, load } = setup(() => false);
    await load(idle.name);
    await load(other.name);
    let isFirst = true;
    engine.beforeLoad = () => {
      if (!isFirst) return Promise.resolve();
      isFirst = false;
      return Promise.reject(new OutOfMemory(said, { allocationBytes: 6 * gigabyte }));
    };
    await load(large.name);
    expect([...engine.resident.keys()]).toEqual([large.name]);
  });

  it("fails after the second attempt with the numbers and what would fit, and reserves nothing", async () => {
    const { engine, load, failure, orchestrator, caller } = setup(() => true);
    await load(idle.name);
    const error = await failure();
    expect(error.message).toBe(
      `out of memory while loading large:14b, even after unloading idle:3b (predicted 12.0 GB at 4096 tokens of context, free 61.0 GB): could not run large:14b: ${said}`,
    );
    expect(error.next).toEqual([{ step: "useModel", model: "other:3b", because: "4.0 GB, smaller" }]);
    expect(engine.calls.filter((call) => call.startsWith("load large"))).toHaveLength(2);
    expect(orchestrator.decisions(caller())[0]).toMatchObject({ kind: "fail", model: large.name });
    expect((await orchestrator.planLoad(caller(), { model: other.name })).freeBytes).toBe(64 * gigabyte);
  });

  it("offers no model that needs as much, however large the buffer is", async () => {
    const { engine, load } = setup(() => false, { memory: { bufferBytes: 20 * gigabyte } });
    engine.beforeLoad = () => Promise.reject(new OutOfMemory(said));
    await expect(load(idle.name)).rejects.toMatchObject({
      next: [advice("free memory"), { step: "pullModelThat", that: "that is smaller" }],
    });
  });

  it("is not tried again if nothing can be evicted: pinned and answering models are kept", async () => {
    const { engine, load, failure } = setup(() => true, { model: { keepAlive: { models: [idle.name] } } });
    await load(idle.name);
    await failure();
    expect(engine.calls.filter((call) => call.startsWith("load large"))).toHaveLength(1);
    expect([...engine.resident.keys()]).toEqual([idle.name]);
  });

  it("is not attributed to memory if a killed process leaves far more than it held: nothing is evicted", async () => {
    const { engine, load, orchestrator, caller } = setup(() => false);
    await load(idle.name);
    const killed = new OutOfMemory("the engine process ended (SIGKILL)", { wasKilled: true });
    engine.beforeLoad = () => Promise.reject(killed);
    const error: unknown = await load(large.name).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LoadFailed);
    expect(error).not.toBeInstanceOf(OutOfMemory);
    expect(error).toMatchObject({
      message:
        "the process that loaded large:14b was killed, not for lack of memory (61.0 GB available, about 12.0 GB needed): the engine process ended (SIGKILL)",
      next: [{ step: "retry" }, { step: "advice" }],
    });
    expect([...engine.resident.keys()]).toEqual([idle.name]);
    expect(orchestrator.decisions(caller())[0]).toMatchObject({ kind: "fail", model: large.name });
  });

  it("is attributed to memory despite free RAM if there is a graphics card, whose memory may have run out", async () => {
    const card = { name: "card", totalBytes: 24 * gigabyte, freeBytes: 24 * gigabyte };
    const { engine, load } = setup(() => false, {}, { sample: () => ({ gpus: [card] }) });
    await load(idle.name);
    let isFirst = true;
    engine.beforeLoad = () => {
      if (!isFirst) return Promise.resolve();
      isFirst = false;
      return Promise.reject(new OutOfMemory("resource limitations", { wasKilled: true }));
    };
    await load(large.name);
    expect([...engine.resident.keys()]).toEqual([large.name]);
  });

  it("is attributed to memory if a killed process leaves no more than it may have held", async () => {
    const { engine, load } = setup(() => false, { memory: { bufferBytes: 48 * gigabyte } });
    await load(idle.name);
    let isFirst = true;
    engine.beforeLoad = () => {
      if (!isFirst) return Promise.resolve();
      isFirst = false;
      return Promise.reject(new OutOfMemory("the engine process ended (SIGKILL)", { wasKilled: true }));
    };
    await load(large.name);
    expect([...engine.resident.keys()]).toEqual([large.name]);
  });

  it("evicts nothing if the load fails for another reason", async () => {
    const { engine, load } = setup(() => false);
    await load(idle.name);
    engine.beforeLoad = () => Promise.reject(new LoadFailed("the file is damaged"));
    await expect(load(large.name)).rejects.toThrow("the file is damaged");
    expect([...engine.resident.keys()]).toEqual([idle.name]);
  });
});
